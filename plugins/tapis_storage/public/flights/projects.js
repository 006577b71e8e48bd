// Projects made from flights: how their syncs and their processing are getting on, and what can be done about it.
import { call, Problem } from "./api.js";
import { button, byId, fill, fillTable, make } from "./dom.js";
import { t } from "./i18n.js";
import { loginLink, Notice } from "./notice.js";
import { isUnderWay } from "./watch.js";
import { ofImages, processing, syncComplete, syncUnderWay } from "./words.js";

// WebODM's dashboard shows ten projects per page. It passes its query on to /api/projects/, so `id` leaves only this one.
function dashboardOf(project) {
    return "/dashboard/?" + new URLSearchParams({ id: project.id, project_task_open: project.id });
}

// The API calls such a job failed, so that programs stop polling; it continues after the login.
function waitsForLogin(job) {
    return Boolean(job) && job.waits_for === "login";
}

export class Projects {
    // changed: called when the list of projects has changed; began: called when a sync was started or stopped
    constructor(changed, began) {
        this.table = byId("tapis-projects");
        this.notice = new Notice(byId("tapis-projects-notice"));
        this.changed = changed;
        this.began = began;
        this.projects = [];
        this.jobs = new Map();
        this.cells = new Map();
    }

    // Throws a Problem where the list cannot be had.
    async load() {
        const { projects } = await call("GET", "tapis-storage/flight-projects/?details=1");
        const same = projects.map(project => project.id).join() === this.projects.map(project => project.id).join();
        this.projects = projects;
        if (!same || !this.drawn) this.draw();
        this.projects.forEach(project => this.show(project));
        this.changed();
    }

    // As the jobs are now. Returns the kinds of change that the list of projects does not show yet.
    follow(jobs) {
        const latest = new Map();
        for (const job of jobs) {
            if (job.kind === "sync" && job.project_id !== null && !latest.has(job.project_id)) latest.set(job.project_id, job);
        }
        const ended = Array.from(this.jobs.values()).some(job => isUnderWay(job) && !isUnderWay(latest.get(job.project_id) || {}));
        const unknown = Array.from(latest.values()).some(job => isUnderWay(job) && !this.cells.has(job.project_id));
        this.jobs = latest;
        this.projects.forEach(project => this.show(project));
        return ended || unknown;
    }

    // Whether WebODM has one of the tasks in hand.
    get processing() {
        return this.projects.some(project => project.task && ["queued", "running"].includes(project.task.state));
    }

    find(flight) {
        return this.projects.find(project => project.flight_name === flight.flight_name && project.system_id === flight.system_id);
    }

    draw() {
        this.drawn = true;
        this.cells.clear();
        fillTable(this.table, this.projects.map(project => {
            const state = make("div", { "data-project": project.id }), actions = make("div", { "class": "tapis-actions" });
            this.cells.set(project.id, { state, actions, shown: "" });
            return { project: make("a", { href: dashboardOf(project) }, project.name), state, actions };
        }), t("No flight was imported yet."));
    }

    show(project) {
        const cell = this.cells.get(project.id), job = this.jobs.get(project.id) || null;
        const looks = JSON.stringify([project, job]);
        if (!cell || cell.shown === looks) return;  // what somebody is about to press stays where it is
        cell.shown = looks;
        fill(cell.state, ...this.words(project, job));
        fill(cell.actions, ...this.actions(project, job));
    }

    words(project, job) {
        if (job && isUnderWay(job)) {
            const share = job.state === "running" && job.images_total ? { max: Math.max(job.bytes_total, 1), value: job.bytes_done } : {};
            return [make("progress", { ...share, "aria-label": t("Images fetched") }), make("div", {}, syncUnderWay(job))];
        }
        const said = [];
        if (waitsForLogin(job)) {
            said.push(make("div", { "class": "text-warning" }, t("Waiting for your Tapis login: {done} of {images} are here. The rest will follow " +
                "after you log in.", { done: job.images_done, images: ofImages(job.images_total) })));
        } else if (job && job.state === "failed") {
            said.push(make("div", { "class": "text-danger" }, t("The sync failed. {reason}", { reason: job.error })));
        } else if (job && job.state === "canceled") {
            said.push(make("div", {}, t("The sync was stopped. {reason}", { reason: job.error })));
        } else if (job && job.state === "completed") {
            said.push(make("div", {}, syncComplete(job)));
            if (job.error) said.push(make("div", { "class": "text-muted" }, job.error));
        } else if (project.synced_at) {
            said.push(make("div", {}, t("All images are here.")));
        } else {
            said.push(make("div", {}, t("The images were not fetched yet.")));
        }
        if (!project.task) {
            said.push(make("div", { "class": "text-muted" }, t("Its task was removed in WebODM; a sync creates it again.")));
        } else if (project.task.state !== "waiting" || project.synced_at) {
            if (!(project.task.state === "canceled" && !project.synced_at)) said.push(make("div", {}, processing(project.task)));
        }
        return said;
    }

    actions(project, job) {
        const { name, task } = project, found = [];
        if (job && isUnderWay(job)) {
            if (task) found.push(button(t("Stop"), t("Stop the sync of {name}", { name }), () => this.stop(project)));
        } else if (waitsForLogin(job)) {
            found.push(loginLink("tapis"));
        } else if (!task || !["queued", "running"].includes(task.state)) {
            const words = { none: t("Fetch images"), failed: t("Try again"), canceled: t("Continue") };
            const text = words[job ? job.state : "none"] || t("Look for new images");
            found.push(button(text, `${text}: ${name}`, () => this.sync(project.id, name)));
        }
        for (const [text, url] of [[t("Map"), task && task.map_url], [t("3D model"), task && task.model_url], [t("Task"), task && task.url]]) {
            if (url) found.push(make("a", { href: url, "class": "btn btn-default btn-sm", "aria-label": t("{thing} of {name}", { thing: text, name }) }, text));
        }
        return found;
    }

    async sync(projectId, name) {
        try {
            await call("POST", "tapis-storage/sync-project-images/", { project_id: projectId });
            this.notice.clear();
        } catch (error) {
            this.failed(error, name, () => this.sync(projectId, name));
        }
        await this.began();
    }

    // The sync ends with its task: that is what WebODM's own Cancel does.
    async stop({ id, name, task }) {
        try {
            await call("POST", `projects/${id}/tasks/${task.id}/cancel/`);
            this.notice.clear();
        } catch (error) {
            this.failed(error, name, () => this.stop({ id, name, task }));
        }
        await this.began();
    }

    failed(error, name, again) {
        if (error instanceof Problem) error.message = `${name}: ${error.message}`;
        this.notice.problem(error, again);
    }
}
