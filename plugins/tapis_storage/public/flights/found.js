// Flights on Tapis: looking for them, and making projects of them. The page has this part for those who are logged in to Tapis.
import { call } from "./api.js";
import { button, byId, fillTable, make, whileBusy } from "./dom.js";
import { Notice } from "./notice.js";
import { isUnderWay } from "./watch.js";
import { discoveryUnderWay, several } from "./words.js";

export class Found {
    // projects: the Projects of the page; began: see Projects
    constructor(projects, began) {
        this.table = byId("tapis-found");
        this.notice = new Notice(byId("tapis-found-notice"));
        this.projects = projects;
        this.began = began;
        this.flights = null;
        this.followed = "";
        const discover = byId("tapis-discover"), all = byId("tapis-import-all");
        discover.addEventListener("click", () => whileBusy(discover, () => this.discover()));
        all.addEventListener("click", () => whileBusy(all, () => this.importAll()));
        this.show();
    }

    show() {
        const imported = (this.flights || []).map(flight => Boolean(this.projects.find(flight)));
        const looks = JSON.stringify([this.flights, imported]);
        if (this.shown === looks) return;  // what somebody is about to press stays where it is
        this.shown = looks;
        const rows = (this.flights || []).map((flight, number) => ({
            flight: flight.flight_name, system: flight.system_id, images: String(flight.image_count),
            action: imported[number] ? make("span", { "class": "tapis-word" }, "imported")
                : button("Import", `Import ${flight.flight_name} (${flight.system_id})`, () => this.importOne(flight)),
        }));
        fillTable(this.table, rows, this.flights ? "There are no flights." : "Press “Discover flights” to look for flights on your systems.");
    }

    // What there is, whole; nothing is made.
    async discover() {
        this.notice.busy("Looking through your systems on Tapis. With many flights this takes a while.");
        try {
            const data = await call("POST", "tapis-storage/discover-flights/", {});
            this.flights = data.flights;
            this.show();
            const text = data.flights.length ? several(data.flights.length, "flight") + " found." : data.message + ".";
            this.tell(text, data.flights.length ? "success" : "info", data.errors);
        } catch (error) {
            this.notice.problem(error, () => this.discover());
        }
    }

    // Whoever asks for one flight wants its images, whatever the preferences say about discoveries in the background.
    async importOne(flight) {
        const name = `${flight.flight_name} (${flight.system_id})`;
        try {
            const { results } = await call("POST", "tapis-storage/create-projects/", { flights: [flight] });
            this.tell(`${name} was imported.`, "success", results.errors);
            await this.projects.load();
            const project = this.projects.find(flight);
            if (project) await this.projects.sync(project.id, name);
        } catch (error) {
            this.notice.problem(error, () => this.importOne(flight));
        }
    }

    // In the background, as it may take long; followed like one that the clock or a login began.
    async importAll() {
        try {
            this.followed = (await call("POST", "tapis-discovery/trigger/", {})).task_id;
            this.notice.busy("A discovery begins.");
            await this.began();
        } catch (error) {
            this.notice.problem(error, () => this.importAll());
        }
    }

    // As the jobs are now: the latest discovery is told about, once it is over too. Returns whether it has ended just now.
    async follow(jobs) {
        const job = jobs.find(each => each.kind === "discovery");
        const ended = Boolean(job) && !isUnderWay(job) && this.followed === job.id;
        if (job && isUnderWay(job)) {
            this.followed = job.id;
            this.notice.busy(discoveryUnderWay(job));
        } else if (ended) {
            await this.ended(job);
            this.followed = "";
        } else if (job && job.state === "failed" && !this.told) {
            this.notice.say("The last discovery in the background failed. " + job.error, "warning");
        }
        this.told = true;
        return ended;
    }

    async ended(job) {
        if (job.state !== "completed") {
            this.notice.say("The discovery failed. " + job.error, "danger", [], button("Try again", "Try again", () => this.importAll()));
            return;
        }
        const { results } = await call("GET", `tapis-storage/jobs/${encodeURIComponent(job.id)}/`);
        const seen = `${several(results.flights_discovered, "flight")} on ${several(results.systems_scanned, "system")}`;
        this.tell(`${seen}: ${several(results.projects_created, "new project")}.`, "success", results.errors);
    }

    tell(text, kind, errors) {
        this.notice.say(text, errors && errors.length ? "warning" : kind, errors);
    }
}
