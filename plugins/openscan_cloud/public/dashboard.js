// WebODM's dashboard: an entry in the import menu of each project, and a link from a task to the scan that it came from.
// Loaded on every page of WebODM as a plain script, so it is small and does nothing where the dashboard's plugin API is missing.
(function () {
    "use strict";
    if (!window.PluginsAPI || !PluginsAPI.Dashboard || !window.React) return;
    var BASE = "/plugins/openscan_cloud/", element = React.createElement;
    var translate = function (text) { return typeof window.gettext === "function" ? window.gettext(text) : text; };

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
            fetch(BASE + "api/tasks/" + encodeURIComponent(this.props.task.id), { credentials: "same-origin" })
                .then(answer => answer.ok ? answer.json() : { scan: null })
                .then(found => { if (this.there) this.setState({ scan: found.scan }); })
                .catch(() => {});  // the dashboard works without our link
        }

        componentWillUnmount() {
            this.there = false;
        }

        render() {
            const scan = this.state.scan;
            return scan && element("a", { className: "btn btn-sm btn-default", href: BASE + "scans/" + scan.key + "/", title: scan.told },
                element("i", { className: "fa fa-camera fa-fw" }), " " + translate("OpenScan") + ": " + scan.status);
        }
    }

    PluginsAPI.Dashboard.addTaskActionButton(function (args) {
        return element(ScanLink, { key: "openscan", task: args.task });
    });
})();
