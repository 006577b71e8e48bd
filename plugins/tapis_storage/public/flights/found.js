// Flights on Tapis: looking for them, choosing among them, and making projects of them. The page has this part for those who are logged
// in to Tapis. What discoveries found is kept by the server, so the list is there when the page is opened again.
import { call } from "./api.js";
import { button, byId, fill, fillTable, make, whileBusy } from "./dom.js";
import { shown, t, tn } from "./i18n.js";
import { Notice } from "./notice.js";
import { Previews } from "./previews.js";
import { isUnderWay } from "./watch.js";
import { bytes, day, discoveryUnderWay, ofFlights, ofImages } from "./words.js";

const PAGE_SIZE = 50, TYPING_MS = 300, MOST_AT_ONCE = 500;
const LATER = " " + t("This continues in the background, even if you close this page.");

function keyOf(flight) {
    return JSON.stringify([flight.system_id, flight.flight_name]);
}

export class Found {
    // projects: the Projects of the page; began: see Projects
    constructor(projects, began) {
        this.table = byId("tapis-found");
        this.notice = new Notice(byId("tapis-found-notice"));
        this.search = byId("tapis-found-search");
        this.imported = byId("tapis-found-imported");
        this.sort = byId("tapis-found-sort");
        this.everything = byId("tapis-found-all");
        this.afterImport = byId("tapis-import-processing");
        this.node = byId("tapis-import-node");
        this.afterImport.addEventListener("change", () => { this.node.disabled = this.afterImport.value === "no"; });
        this.previews = new Previews((flight, preview) => this.counted(flight, preview));
        this.projects = projects;
        this.began = began;
        this.page = this.wanted = 1;
        this.flights = [];
        this.chosen = new Map();  // over all pages of the list, by keyOf
        // {id, tell, again, quiet}: the discovery that this page watches, what to say of its results, how to repeat it, and whether to say
        // nothing, as the person has asked for something else meanwhile.
        this.followed = null;
        this.answering = false;   // a request that the person waits for is on its way
        this.answered = false;    // the person has asked for something on this page, and the notice is the answer
        this.asked = 0;
        const discover = byId("tapis-discover"), all = byId("tapis-import-all");
        discover.addEventListener("click", () => whileBusy(discover, () => this.discover()));
        all.addEventListener("click", () => whileBusy(all, () => this.importAll()));
        this.search.addEventListener("input", () => {
            clearTimeout(this.typing);
            this.typing = setTimeout(() => this.load(1), TYPING_MS);
        });
        for (const choice of [this.imported, this.sort]) choice.addEventListener("change", () => this.load(1));
        this.everything.addEventListener("change", () => this.chooseAll(this.everything.checked));
        this.load(1);
    }

    // A page of the list as the server has it; by default the one that was asked for last, even if it is not here yet. Of several calls on
    // their way, the last one counts.
    async load(page = this.wanted) {
        const number = this.asked += 1;
        this.wanted = page;
        const query = new URLSearchParams({
            page, page_size: PAGE_SIZE, sort: this.sort.value, imported: this.imported.value, search: this.search.value.trim(),
        });
        try {
            const answer = await call("GET", "tapis-storage/found-flights/?" + query);
            if (number !== this.asked) return;
            const last = Math.max(1, Math.ceil(answer.total / PAGE_SIZE));
            if (page > last) return void await this.load(last);
            this.page = page;
            this.last = last;
            this.answer = answer;
            this.flights = answer.flights;
            this.show();
        } catch (error) {
            if (number === this.asked) this.notice.problem(error, () => this.load());
        }
    }

    isImported(flight) {
        return flight.project_id !== null || Boolean(this.projects.find(flight));
    }

    show() {
        if (!this.answer) return;
        const imported = this.flights.filter(flight => this.isImported(flight));
        const looks = JSON.stringify([this.answer, imported.map(keyOf), this.page]);
        if (this.shown === looks) return;  // what somebody is about to press stays where it is
        this.shown = looks;
        imported.forEach(flight => this.chosen.delete(keyOf(flight)));
        this.boxes = new Map();  // of the flights on this page that can be chosen
        this.counts = new Map();  // of each flight on this page: where its images and size are said
        this.previews.keepOnly(this.flights);
        fillTable(this.table, this.flights.map(flight => this.row(flight, imported.includes(flight))), this.emptyText());
        this.showTotals();
        this.showPages();
        this.showChosen();
    }

    row(flight, imported) {
        const name = `${flight.flight_name} (${flight.system_id})`;
        if (!imported) this.boxes.set(flight, this.box(flight, name));
        const images = make("span"), size = make("span");
        this.counts.set(flight, { images, size });
        this.showCount(flight);
        return {
            choose: this.boxes.get(flight), flight: flight.flight_name, preview: this.previews.cell(flight), system: flight.system_id,
            images, size, seen: day(flight.seen_at),
            action: imported ? make("span", { "class": "tapis-word" }, t("imported"))
                : button(t("Import"), t("Import {flight}", { flight: name }), () => this.importThese([flight])),
        };
    }

    showCount(flight) {
        const { images, size } = this.counts.get(flight);
        images.textContent = flight.image_count === null ? t("not counted yet") : shown(flight.image_count);
        size.textContent = flight.total_bytes ? bytes(flight.total_bytes) : "";
    }

    // A flight's preview has counted its images.
    counted(flight, preview) {
        if (flight.image_count !== null || !this.counts.has(flight)) return;
        flight.image_count = preview.image_count;
        flight.total_bytes = preview.total_bytes;
        this.showCount(flight);
    }

    box(flight, name) {
        const box = make("input", { type: "checkbox", "aria-label": t("Choose {flight}", { flight: name }) });
        box.addEventListener("change", () => this.choose([flight], box.checked));
        return box;
    }

    choose(flights, wanted) {
        for (const flight of flights) {
            if (wanted) this.chosen.set(keyOf(flight), flight);
            else this.chosen.delete(keyOf(flight));
        }
        this.showChosen();
    }

    chooseAll(wanted) {
        this.choose([...this.boxes.keys()], wanted);
    }

    emptyText() {
        if (this.search.value.trim() || this.imported.value) return t("No flight fits this search.");
        return t("No flights yet. Press “Discover flights” to look for flights on your systems.");
    }

    showTotals() {
        const { flights, images, bytes: size } = this.answer.totals, { disk_free_bytes: disk, quota_left_bytes: quota } = this.answer.room;
        const room = quota === null ? disk : Math.min(disk, quota);
        fill(byId("tapis-found-totals"), flights ? t("{flights}, {images}, {size}. There is room for {room} more on this WebODM.",
            { flights: ofFlights(flights), images: ofImages(images), size: bytes(size), room: bytes(room) }) : "");
    }

    showChosen() {
        for (const [flight, box] of this.boxes) box.checked = this.chosen.has(keyOf(flight));
        const boxes = [...this.boxes.values()];
        this.everything.disabled = !boxes.length;
        this.everything.checked = boxes.length > 0 && boxes.every(box => box.checked);
        const flights = [...this.chosen.values()], place = byId("tapis-found-chosen");
        if (!flights.length) return fill(place);
        const size = flights.reduce((sum, flight) => sum + (flight.total_bytes || 0), 0);
        const number = ofFlights(flights.length);
        const text = size ? t("{flights} chosen, {size}.", { flights: number, size: bytes(size) }) : t("{flights} chosen.", { flights: number });
        fill(place, text + " ", button(t("Import these"), t("Import the chosen flights"), () => this.importThese(flights), "primary"), " ",
            button(t("Choose none"), t("Choose no flight"), async () => this.choose(flights, false)));
    }

    showPages() {
        const place = byId("tapis-found-pages");
        if (this.last === 1) return fill(place);
        const turn = (text, label, page) => {
            const made = button(text, label, () => this.load(page));
            made.disabled = page < 1 || page > this.last;
            return made;
        };
        fill(place, turn("‹", t("Previous page of flights"), this.page - 1),
            " " + t("Page {page} of {last}", { page: this.page, last: this.last }) + " ", turn("›", t("Next page of flights"), this.page + 1));
    }

    // A request whose answer the person waits for: what a discovery in the background found must not take its place.
    async request(text, path, body) {
        if (this.followed) this.followed.quiet = true;
        this.answering = this.answered = true;
        this.notice.busy(text);
        try {
            return await call("POST", path, body);
        } finally {
            this.answering = false;
        }
    }

    // Nothing is made. If this takes longer than the server lets a request wait, the answer names a job, and the page follows it.
    async discover() {
        try {
            const text = t("Looking through your systems on Tapis. With many flights this takes a while.");
            const data = await this.request(text, "tapis-storage/discover-flights/", {});
            const told = results => this.tellFound(results.flights_discovered, results.errors);
            if (data.complete === false) return void await this.goOn(data.job_id, told, () => this.discover());
            this.tellFound(data.count, data.errors, data.message);
            await this.load(1);
        } catch (error) {
            this.notice.problem(error, () => this.discover());
        }
    }

    tellFound(count, errors, message) {
        if (count) this.tell(tn("{n} flight found.", "{n} flights found.", count), "success", errors);
        else this.tell(`${message || t("No flight directories found")}.`, "info", errors);
    }

    // What to do with the flights that are imported next; nothing where the preferences decide.
    get processing() {
        const after = this.afterImport.value, chosen = {};
        if (after) chosen.process = after !== "no";
        if (after.startsWith("preset:")) chosen.preset = after.slice("preset:".length);
        if (this.node.value && after !== "no") chosen.node = Number(this.node.value);
        return Object.keys(chosen).length ? chosen : undefined;
    }

    // Whoever chooses flights wants their images, whatever the preferences say about discoveries in the background.
    async importThese(flights) {
        const now = flights.slice(0, MOST_AT_ONCE);
        const asked = now.map(({ flight_name, system_id }) => ({ flight_name, system_id }));
        const name = now.length === 1 ? `${now[0].flight_name} (${now[0].system_id})` : ofFlights(now.length);
        try {
            const data = await this.request(t("Importing {flights}.", { flights: name }), "tapis-storage/create-projects/", { flights: asked, sync: true, processing: this.processing });
            this.choose(now, false);
            const told = results => this.tellImported(name, results, flights.length - now.length);
            if (data.complete === false) return void await this.goOn(data.job_id, told, () => this.importThese(now));
            told(data.results);
            await Promise.all([this.projects.load(), this.load()]);
            await this.began();
        } catch (error) {
            this.notice.problem(error, () => this.importThese(flights));
        }
    }

    tellImported(name, results, left) {
        const made = results.projects_created, asked = results.flights_discovered;
        let text = t("{flights} imported. The images are being fetched.", { flights: made === 1 && asked === 1 ? name : ofFlights(made) });
        if (!made) text = results.errors.length ? t("Nothing was imported:") : t("{flights}: imported before.", { flights: name });
        else if (results.errors.length) text += " " + t("Not all that you asked for could be read:");
        if (left) text += " " + tn("{n} flight is still chosen: import it next.", "{n} flights are still chosen: import them next.", left);
        this.tell(text, "success", results.errors);
    }

    // In the background, as it may take long; followed like one that the clock or a login began.
    async importAll() {
        try {
            const { task_id: id } = await this.request(t("Starting a discovery."), "tapis-discovery/trigger/", {});
            this.followed = { id, ...this.ofAll() };
            await this.began();
        } catch (error) {
            this.notice.problem(error, () => this.importAll());
        }
    }

    async goOn(id, tell, again) {
        this.followed = { id, tell, again };
        this.notice.busy(t("This takes longer.") + LATER);
        await this.began();
    }

    // Called with the jobs as they are now. Shows how the discovery that the page follows is getting on, and how it ended. Returns whether
    // it has just ended.
    async follow(jobs) {
        const mine = jobs.filter(job => job.kind === "discovery");
        const job = this.followed ? mine.find(each => each.id === this.followed.id) : mine.find(isUnderWay) || mine[0];
        const ended = Boolean(this.followed && job && !isUnderWay(job));
        if (job && isUnderWay(job)) {
            if (!this.followed) this.followed = { id: job.id, ...this.ofAll(), quiet: this.answered };
            if (this.answering || !this.followed.quiet) this.notice.busy(discoveryUnderWay(job) + LATER);
        } else if (ended) {
            await this.ended(job);
        } else if (job && job.state === "failed" && !this.told && !this.answered) {
            this.notice.say(t("The last discovery in the background failed. {reason}", { reason: job.error }), "warning");
        }
        this.told = true;
        return ended;
    }

    ofAll() {
        return { tell: results => this.tellAll(results), again: () => this.importAll() };
    }

    // Asking for the results takes a moment, in which the person may ask for something else.
    async ended(job) {
        const followed = this.followed, failed = job.state !== "completed";
        const results = failed ? null : (await call("GET", `tapis-storage/jobs/${encodeURIComponent(job.id)}/`)).results;
        if (this.followed === followed) this.followed = null;
        if (!followed.quiet) {
            if (failed) {
                this.notice.say(t("The discovery failed. {reason}", { reason: job.error }), "danger", [],
                    button(t("Try again"), t("Try again"), followed.again));
            } else followed.tell(results);
        }
        await this.load();
    }

    tellAll(results) {
        this.tell(t("{flights} on {systems}: {projects}.", {
            flights: ofFlights(results.flights_discovered), systems: tn("{n} system", "{n} systems", results.systems_scanned),
            projects: tn("{n} new project", "{n} new projects", results.projects_created),
        }), "success", results.errors);
    }

    tell(text, kind, errors) {
        this.notice.say(text, errors && errors.length ? "warning" : kind, errors);
    }
}
