// Sends the files of an upload, several at once, until the server has them all. Independent of the page.
import { Problem, get, post } from "../api.js";
import { t } from "../i18n.js";
import { tidy } from "./tidy.js";

//: Browsers open six connections to a server. One is left for the pages.
const AT_ONCE = 5, FIRST_WAIT = 1, LONGEST_WAIT = 30, ATTEMPTS = 4, SPEED_SECONDS = 20, TIDY_EVERY = 50;
//: Statuses that are not the file's fault: the upload waits and tries again for as long as it takes.
const PASSING = new Set([0, 408, 429, 500, 502, 503, 504, 507]);

export class Sender {
    // `files` are Blobs in the order of the upload's links; a missing one is null. `told` is called after each change.
    constructor(upload, files, told) {
        this.key = upload.key;
        this.told = told;
        this.items = upload.links.map(([path, size, link], index) => ({ index, path, size, link, file: files[index], sent: link ? 0 : size,
            state: link ? "waiting" : "done", attempts: 0, error: "" }));
        this.total = this.items.reduce((sum, item) => sum + item.size, 0);
        this.running = 0;
        this.paused = false;
        this.stopped = false;
        this.trouble = "";
        this.wait = 0;
        this.history = [];
        this.requests = new Set();
        this.spare = [];
        this.sendings = 0;
        this.online = () => this.wake();
        window.addEventListener("online", this.online);
    }

    get sent() { return this.items.reduce((sum, item) => sum + item.sent, 0); }
    get failed() { return this.items.filter(item => item.state === "failed"); }
    get left() { return this.items.reduce((sum, item) => sum + (item.state === "done" ? 0 : 1), 0); }
    get done() { return this.items.length - this.left; }

    // Recent bytes per second, 0 while unknown.
    get speed() {
        const [first, last] = [this.history[0], this.history[this.history.length - 1]];
        return this.history.length > 1 && last.at > first.at ? Math.max(0, (last.sent - first.sent) / (last.at - first.at)) : 0;
    }

    // Resolves once the server has all files; rejects if the upload is stopped.
    run() {
        return new Promise((resolve, reject) => {
            this.resolve = resolve;
            this.reject = reject;
            this.ticker = setInterval(() => this.tick(), 1000);
            this.fill();
        });
    }

    pause(on) {
        this.paused = on;
        if (on) this.requests.forEach(request => request.abort());
        else this.wake();
        this.told();
    }

    stop(problem = null) {
        if (this.stopped) return;
        this.stopped = true;
        clearInterval(this.ticker);
        clearTimeout(this.timer);
        window.removeEventListener("online", this.online);
        this.requests.forEach(request => request.abort());
        problem ? this.reject(problem) : this.resolve();
    }

    // Try failed files again: the given ones, or all.
    retry(items = this.failed) {
        for (const item of items) Object.assign(item, { state: "waiting", attempts: 0, error: "", sent: 0 });
        this.fill();
    }

    tick() {
        const now = performance.now() / 1000;
        this.history.push({ at: now, sent: this.sent });
        while (this.history.length > 2 && now - this.history[0].at > SPEED_SECONDS) this.history.shift();
        this.told();
    }

    wake() {
        clearTimeout(this.timer);
        this.timer = null;
        this.history = [];
        if (!this.stopped) this.fill();
    }

    fill() {
        if (this.stopped || this.paused || this.timer) return;
        while (this.running < AT_ONCE) {
            const item = this.items.find(each => each.state === "waiting");
            if (!item) break;
            this.send(item);
        }
        if (!this.running && !this.left) this.stop();
        this.told();
    }

    async send(item) {
        item.state = "sending";
        item.attempts++;
        this.running++;
        if (++this.sendings % TIDY_EVERY === 0) tidy();
        const { status, error } = item.file ? await this.put(item) : { status: 400, error: t("This file was not chosen again.") };
        this.running--;
        if (this.stopped) return;
        if (status === 200) {
            Object.assign(item, { state: "done", sent: item.size, error: "" });
            this.wait = 0;
            this.trouble = "";
        } else {
            item.sent = 0;
            this.failedOnce(item, status, error);
        }
        this.fill();
    }

    failedOnce(item, status, error) {
        if (this.paused) {
            Object.assign(item, { state: "waiting", attempts: item.attempts - 1 });
        } else if (status === 410 || status === 404) {
            item.state = "waiting";
            this.renew();
        } else if (status === 409) {
            this.stop(new Problem(error, status));
        } else if (PASSING.has(status)) {
            Object.assign(item, { state: "waiting", attempts: 0 });
            this.later(status ? error : t("The connection to the server was lost. The upload continues as soon as it is back."));
        } else if (status === -1 || item.attempts >= ATTEMPTS || (status >= 400 && status !== 400)) {
            Object.assign(item, { state: "failed", error });
        } else {
            item.state = "waiting";
        }
    }

    later(trouble) {
        this.trouble = trouble;
        if (this.timer) return;
        this.wait = Math.min(LONGEST_WAIT, this.wait ? this.wait * 2 : FIRST_WAIT);
        this.timer = setTimeout(() => this.wake(), this.wait * (500 + Math.random() * 500));
    }

    // Get new links, and find out what has arrived: if an answer was lost on its way, its file is there.
    async renew() {
        if (this.timer) return;
        this.timer = setTimeout(() => {}, 0);
        try {
            const upload = await post(`uploads/${this.key}`);
            upload.links.forEach(([, size, link], index) => {
                const item = this.items[index];
                item.link = link;
                if (!link && item.state !== "sending") Object.assign(item, { state: "done", sent: size, error: "" });
            });
            this.wake();
        } catch (problem) {
            this.timer = null;
            if (PASSING.has(problem.status)) this.later(problem.message);
            else this.stop(problem);
        }
    }

    // Requests are used again: 1,800 of them would take memory until the browser tidies up.
    put(item) {
        return new Promise(resolve => {
            const request = this.spare.pop() || new XMLHttpRequest();
            this.requests.add(request);
            const finish = (status, error = "") => {
                this.requests.delete(request);
                this.spare.push(request);
                resolve({ status, error });
            };
            request.open("POST", item.link);
            request.setRequestHeader("Content-Type", "application/octet-stream");
            request.upload.onprogress = event => { item.sent = Math.min(item.size, event.loaded); };
            request.onload = () => finish(request.status, sentence(request));
            request.onabort = () => finish(0);
            request.ontimeout = () => finish(0);
            // A file that was changed or moved after it was chosen fails like a network error. Reading one byte tells them apart.
            request.onerror = () => item.file.slice(0, 1).arrayBuffer().then(
                () => finish(0), () => finish(-1, t("This file was changed or moved after it was chosen. Choose it again.")));
            request.send(item.file);
        });
    }
}

function sentence(request) {
    try {
        return JSON.parse(request.responseText).error || "";
    } catch (error) {
        return t("The server answered with status {status}.", { status: request.status });
    }
}

// Which parts of an upload have arrived.
export const look = key => get(`uploads/${key}`);
