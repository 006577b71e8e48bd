// What our dashboard scripts use of WebODM's dashboard, for pages of the sandbox host, which has none of it: React's elements and
// components, `PluginsAPI.Dashboard`, and rows of tasks with the class names and the refresh of WebODM 3.2.4.
(function () {
    const build = node => {
        if (node === null || node === undefined || node === false) return document.createTextNode("");
        if (typeof node !== "object") return document.createTextNode(String(node));
        if (typeof node.kind === "function") return mount(new node.kind(node.props));
        const made = document.createElement(node.kind);
        for (const [name, value] of Object.entries(node.props)) {
            if (name === "onClick") made.addEventListener("click", value);
            else if (name === "className") made.className = value;
            else if (name !== "key") made.setAttribute(name, value);
        }
        made.append(...node.children.map(build));
        return made;
    };
    const mount = component => {
        component.place = document.createElement("span");
        component.draw();
        component.componentDidMount();
        return component.place;
    };

    class Component {
        constructor(props) { this.props = props; }
        draw() { this.place.replaceChildren(build(this.render())); }
        setState(more) {
            this.state = Object.assign({}, this.state, more);
            this.draw();
        }
    }

    const items = [], buttons = [];
    window.React = { Component, createElement: (kind, props, ...children) => ({ kind, props: props || {}, children }) };
    window.PluginsAPI = { Dashboard: { addImportTaskItem: make => items.push(make), addTaskActionButton: make => buttons.push(make) } };

    const board = document.createElement("div");
    board.setAttribute("data-dashboard", "");
    document.body.prepend(board);

    window.standIn = {
        edited: [], refreshed: [],
        importMenu(projectId) {
            const list = document.createElement("ul");
            list.className = "import-dropdown";
            list.append(...items.map(make => build(make({ projectId }))));
            board.append(list);
        },
        // A task's row as it is drawn for a user who may change it, unfolded.
        row(task) {
            const row = document.createElement("div"), actions = document.createElement("div"), label = document.createElement("div");
            const forgotten = !task.processing_node && !task.import_url;
            row.className = "task-list-item";
            row.id = "row-" + task.id;
            actions.className = "actions";
            label.className = "status-label";
            label.title = forgotten ? "Set a processing node" : "Sending images to processing node";
            label.innerHTML = "<i></i><span></span>";
            label.lastChild.append(" ", label.title);
            if (forgotten) {
                const link = document.createElement("a");
                link.href = "javascript:void(0);";
                board.addEventListener("click", event => { if (link.contains(event.target)) this.edited.push(task.id); });
                link.append(label);
                actions.append(link);
            } else {
                actions.append(label);
            }
            row.append(actions, ...buttons.map(make => build(make({ task }))));
            const component = { state: { task }, refresh: () => this.refreshed.push(task.id) };
            row["__reactInternalInstance$abc"] = { return: { stateNode: component, return: null } };
            board.append(row);
        },
    };
})();
