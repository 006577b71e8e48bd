// WebODM's dashboard: an entry in the import menu of each project, and on tasks that came from a flight: the state of its images, a button
// that fetches them, and a link to the flights page. Every page of WebODM loads this plain script, so it is small, and it does nothing on
// pages without the dashboard.
(function () {
    "use strict";
    if (!window.PluginsAPI || !PluginsAPI.Dashboard || !window.React) return;
    var PAGE = "/plugins/tapis_storage/", API = "/api/tapis-storage/", MOST = 100, LOOK_MS = 15000, element = React.createElement;

    function t(text, values) {
        var found = typeof window.gettext === "function" ? window.gettext(text) : text;
        return found.replace(/\{(\w+)\}/g, function (whole, name) { return values && name in values ? String(values[name]) : whole; });
    }

    function ask(path, options) {
        return fetch(API + path, Object.assign({ credentials: "same-origin", headers: { "Accept": "application/json" } }, options))
            .then(answer => answer.json());
    }

    // The flights of these tasks, by task. Tasks that did not come from a flight are missing.
    function flightsOf(ids) {
        return ask("flight-projects/?details=1&tasks=" + ids.join()).then(data =>
            new Map((data.projects || []).filter(project => project.task).map(project => [project.task.id, project])));
    }

    function isUnderWay(sync) {
        return Boolean(sync) && ["queued", "running"].includes(sync.state);
    }

    // How far the images of a flight are. Short, as a row has room for about 22 characters.
    function words(flight) {
        const sync = flight.sync;
        if (isUnderWay(sync)) {
            return sync.images_total ? t("Fetching: {done} of {all}", { done: sync.images_done, all: sync.images_total }) : t("Fetching images");
        }
        if (sync && sync.waits_for === "login") return t("Waiting for your login");
        if (sync && sync.state === "failed") return t("Fetching failed");
        if (sync && sync.state === "canceled" && !flight.synced_at) return t("Fetching was stopped");
        return flight.synced_at ? t("All images are here") : t("Images not fetched yet");
    }

    if (PluginsAPI.Dashboard.addImportTaskItem) {
        PluginsAPI.Dashboard.addImportTaskItem(function () {
            return element("li", { key: "tapis" }, element("a", { href: PAGE, title: t("Each flight becomes a project.") },
                element("i", { className: "fa fa-satellite-dish fa-fw" }), " " + t("Import from Tapis")));
        });
    }

    if (!PluginsAPI.Dashboard.addTaskActionButton) return;

    // Below a task of a flight. Asks when a task is unfolded, and again while its images are being fetched.
    class FlightActions extends React.Component {
        constructor(props) {
            super(props);
            this.state = { flight: null, problem: null };
        }

        componentDidMount() {
            this.there = true;
            this.load();
        }

        componentWillUnmount() {
            this.there = false;
            clearTimeout(this.timer);
        }

        load() {
            flightsOf([this.props.task.id]).then(flights => {
                if (!this.there) return;
                const flight = flights.get(this.props.task.id) || null;
                this.setState({ flight });
                clearTimeout(this.timer);
                if (flight && isUnderWay(flight.sync)) this.timer = setTimeout(() => this.load(), 3000);
            }).catch(() => {});  // the dashboard works without us
        }

        sync() {
            const cookie = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie), project = this.state.flight.id;
            this.setState({ problem: null });
            ask("sync-project-images/", {
                method: "POST", body: JSON.stringify({ project_id: project }),
                headers: { "Accept": "application/json", "Content-Type": "application/json", "X-CSRFToken": cookie ? cookie[1] : "" },
            }).then(answer => answer.success ? null : answer.detail || answer.error, () => t("WebODM does not answer.")).then(problem => {
                if (!this.there) return;
                this.setState({ problem });
                this.load();
            });
        }

        render() {
            const { flight, problem } = this.state;
            if (!flight) return null;
            const told = problem || (flight.sync && flight.sync.state === "failed" ? flight.sync.error : "");
            const busy = isUnderWay(flight.sync) || ["queued", "running"].includes(flight.task.state);
            return element("span", { className: "tapis-flight" },
                element("a", { className: "btn btn-sm btn-default", href: PAGE + "#tapis-projects-title", title: flight.system_id },
                    element("i", { className: "fa fa-satellite-dish fa-fw" }), " " + t("Tapis flight") + ": " + words(flight)),
                " ",
                busy ? null : element("button", { className: "btn btn-sm btn-default", type: "button", onClick: () => this.sync() },
                    element("i", { className: "fa fa-cloud-download-alt fa-fw" }), " " + (flight.synced_at ? t("Look for new images") : t("Fetch images"))),
                told ? element("div", { className: "text-danger", role: "alert" }, told) : null);
        }
    }

    PluginsAPI.Dashboard.addTaskActionButton(function (args) {
        return element(FlightActions, { key: "tapis", task: args.task });
    });

    // While a flight's task waits for its images, WebODM says "Sending images to processing node". Say what it really waits for.
    const LABEL = ".task-list-item .actions > .status-label";

    // No plugin API names the task of a row, so ask React for the component that drew it. Null if a later React answers differently.
    function componentOf(label) {
        const row = label.closest(".task-list-item"), name = Object.keys(row).find(key => /^__react(InternalInstance|Fiber)\$/.test(key));
        for (let fiber = name ? row[name] : null; fiber; fiber = fiber.return) {
            const made = fiber.stateNode;
            if (made && made.state && made.state.task && made.state.task.id) return made;
        }
        return null;
    }

    function isWaiting(task) {
        return task.import_url.startsWith("tapis://") && task.status === null && !task.processing_node && task.pending_action === null;
    }

    const originals = new WeakMap();  // what WebODM wrote

    function write(label, text, icon) {
        const written = label.querySelector("span").lastChild, drawn = label.querySelector("i");
        if (!originals.has(label)) originals.set(label, { text: written.nodeValue, icon: drawn.className });
        if (written.nodeValue !== text) written.nodeValue = text;
        drawn.className = icon || originals.get(label).icon;
        label.title = text;
    }

    function restore(label) {
        const original = originals.get(label);
        if (original) write(label, original.text);
        originals.delete(label);
    }

    function show(label, component, flight) {
        if (flight.task.state === "waiting") {
            const text = words(flight), ended = originals.has(label) && label.title !== text && !isUnderWay(flight.sync);
            write(label, text, isUnderWay(flight.sync) ? null : "far fa-hourglass");
            if (ended) component.refresh();  // the row also has the number of images
        } else {
            restore(label);
            component.refresh();  // WebODM does not ask again for a task without a node
        }
    }

    function look(dashboard) {
        const rows = new Map();
        dashboard.querySelectorAll(LABEL).forEach(label => {
            const component = componentOf(label);
            label.dataset.tapis = "seen";
            if (!component || !isWaiting(component.state.task)) restore(label);
            else if (rows.size < MOST) rows.set(component.state.task.id, { label, component });
        });
        if (!rows.size) return;
        flightsOf(Array.from(rows.keys())).then(flights => flights.forEach((flight, id) => {
            const { label, component } = rows.get(id);
            if (label.isConnected) show(label, component, flight);
        })).catch(() => {});
    }

    function watch() {
        const dashboard = document.querySelector("[data-dashboard]");
        let soon = 0;
        if (!dashboard) return;
        new MutationObserver(() => {
            if (soon || !dashboard.querySelector(LABEL + ":not([data-tapis])")) return;
            soon = setTimeout(() => { soon = 0; look(dashboard); }, 100);
        }).observe(dashboard, { childList: true, subtree: true });
        setInterval(() => { if (!document.hidden) look(dashboard); }, LOOK_MS);
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
    else watch();
})();
