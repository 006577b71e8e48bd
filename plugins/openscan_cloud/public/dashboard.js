// WebODM's dashboard: an entry in the import menu of each project, a link from a task to the scan that it came from, and what a waiting
// scan waits for. Every page of WebODM loads this plain script, so it is small, and it does nothing on pages without the dashboard.
(function () {
    "use strict";
    if (!window.PluginsAPI || !PluginsAPI.Dashboard || !window.React) return;
    var BASE = "/plugins/openscan_cloud/", MOST = 100, LOOK_MS = 15000, element = React.createElement;
    var translate = function (text) { return typeof window.gettext === "function" ? window.gettext(text) : text; };
    var WORDS = {
        "initialized": "Checking the photos", "file approved": "Waiting for its turn", "processing started": "Processing",
        "processing done": "The model is ready", "processing failed": "There is no model", "expired": "Expired",
    };

    function words(scan) {
        var text = translate(WORDS[scan.status] || scan.status);
        return translate("OpenScan") + ": " + (scan.place ? text + " (" + translate("place") + " " + scan.place + ")" : text);
    }

    function ask(path) {
        return fetch(BASE + "api/" + path, { credentials: "same-origin" }).then(answer => answer.ok ? answer.json() : {});
    }

    if (PluginsAPI.Dashboard.addImportTaskItem) {
        PluginsAPI.Dashboard.addImportTaskItem(function (args) {
            return element("li", { key: "openscan" }, element("a", { href: BASE + "upload/?project=" + Number(args.projectId) },
                element("i", { className: "fa fa-camera fa-fw" }), " " + translate("Upload to OpenScan")));
        });
    }

    if (!PluginsAPI.Dashboard.addTaskActionButton) return;

    // Asks once when a task is unfolded; a task that is no scan shows nothing.
    class ScanLink extends React.Component {
        constructor(props) {
            super(props);
            this.state = { scan: null };
        }

        componentDidMount() {
            this.there = true;
            ask("tasks/" + encodeURIComponent(this.props.task.id))
                .then(found => { if (this.there) this.setState({ scan: found.scan }); })
                .catch(() => {});  // the dashboard works without our link
        }

        componentWillUnmount() {
            this.there = false;
        }

        render() {
            const scan = this.state.scan;
            return scan && element("a", { className: "btn btn-sm btn-default", href: BASE + "scans/" + scan.key + "/", title: scan.told },
                element("i", { className: "fa fa-camera fa-fw" }), " " + words(scan));
        }
    }

    PluginsAPI.Dashboard.addTaskActionButton(function (args) {
        return element(ScanLink, { key: "openscan", task: args.task });
    });

    // WebODM shows a task without a node as one that somebody forgot: "Set a processing node", which opens its form. A scan has no node
    // while it waits for its turn, so its row says that, and leads to the scan's page.
    const ROW = ".task-list-item .actions > a";

    // No plugin API names the task of a row, so ask React for the component that drew it. Null if a later React answers differently.
    function componentOf(link) {
        const row = link.closest(".task-list-item"), name = Object.keys(row).find(key => /^__react(InternalInstance|Fiber)\$/.test(key));
        for (let fiber = name ? row[name] : null; fiber; fiber = fiber.return) {
            const made = fiber.stateNode;
            if (made && made.state && made.state.task && made.state.task.id) return made;
        }
        return null;
    }

    function show(link, component, scan) {
        const label = link.querySelector(".status-label"), written = label.querySelector("span").lastChild;
        const text = scan.place ? translate("Waiting: place") + " " + scan.place : translate(WORDS[scan.status] || scan.status);
        if (written.nodeValue !== text) written.nodeValue = text;  // short, as there is room for about 22 characters
        label.querySelector("i").className = "far fa-hourglass";  // all that a phone shows, where WebODM has a wheel that turns
        label.title = [words(scan), scan.told].filter(Boolean).join(". ");
        link.href = BASE + "scans/" + scan.key + "/";
        if (!link.dataset.openscan) link.addEventListener("click", event => event.stopPropagation());  // React would open the form
        if (link.dataset.openscan === "waiting" && !scan.waiting) component.refresh();  // WebODM does not ask for a task without a node
        link.dataset.openscan = scan.waiting ? "waiting" : "over";
    }

    function look(dashboard) {
        const rows = new Map();
        dashboard.querySelectorAll(ROW + " > .status-label").forEach(label => {
            const link = label.parentNode, component = componentOf(link);
            if (component && rows.size < MOST) rows.set(component.state.task.id, { link, component });
            link.dataset.openscan = link.dataset.openscan || "";
        });
        if (!rows.size) return;
        ask("tasks?ids=" + Array.from(rows.keys()).join()).then(found => {
            for (const [id, scan] of Object.entries(found.scans || {})) {
                const { link, component } = rows.get(id);
                if (link.isConnected) show(link, component, scan);
            }
        }).catch(() => {});
    }

    function watch() {
        const dashboard = document.querySelector("[data-dashboard]");
        let soon = 0;
        if (!dashboard) return;
        new MutationObserver(() => {
            if (soon || !dashboard.querySelector(ROW + ":not([data-openscan]) > .status-label")) return;
            soon = setTimeout(() => { soon = 0; look(dashboard); }, 100);
        }).observe(dashboard, { childList: true, subtree: true });
        setInterval(() => { if (!document.hidden) look(dashboard); }, LOOK_MS);
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
    else watch();
})();
