// Follows the user's jobs. A call that fails is said and made again, later and later; it never ends the watch.
import { call, Problem } from "./api.js";

const BUSY_SECONDS = 1.5, CALM_SECONDS = 10, LONGEST_SECONDS = 20;

export function isUnderWay(job) {
    return job.state === "queued" || job.state === "running";
}

// The API lists failed jobs before those that ended well, so an old failure would hide the attempt after it.
function newestFirst(one, other) {
    return one.created_at < other.created_at ? 1 : one.created_at > other.created_at ? -1 : 0;
}

export class Watch {
    // look: called with the jobs, each time that they are known anew; returns whether more is going on than jobs under way.
    // trouble: called with a Problem and the seconds until the next attempt, or with null once it is over.
    constructor(look, trouble) {
        this.look = look;
        this.trouble = trouble;
        this.failures = 0;
        this.timer = null;
        this.asking = false;
    }

    // Ask now: the page began something, or was just opened.
    async now() {
        if (this.asking) {
            this.askAgain = true;
            return;
        }
        clearTimeout(this.timer);
        this.asking = true;
        let seconds = CALM_SECONDS;
        try {
            const { jobs } = await call("GET", "tapis-storage/jobs/");
            jobs.sort(newestFirst);
            const busy = await this.look(jobs);
            if (busy || jobs.some(isUnderWay)) seconds = BUSY_SECONDS;
            if (this.failures) this.trouble(null);
            this.failures = 0;
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            this.failures += 1;
            seconds = Math.min(BUSY_SECONDS * 2 ** this.failures, LONGEST_SECONDS);
            this.trouble(error, seconds);
        } finally {
            this.asking = false;
            if (this.askAgain) seconds = 0;
            this.askAgain = false;
            this.timer = setTimeout(() => this.now(), seconds * 1000);
        }
    }
}
