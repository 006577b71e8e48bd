// The flights page: what it shows and does goes through the REST API. Texts from Tapis are set as text, never as HTML.
(function () {
    "use strict";
    var root = document.getElementById("tapis-flights");
    var message = document.getElementById("tapis-message");
    var form = document.getElementById("tapis-preferences");
    var projects = [];
    var flights = [];
    var polls = {};

    function call(method, path, body) {
        var options = { method: method, credentials: "same-origin", headers: { "X-CSRFToken": root.dataset.csrf } };
        if (body !== undefined) {
            options.headers["Content-Type"] = "application/json";
            options.body = JSON.stringify(body);
        }
        return fetch("/api/" + path, options).then(function (answer) {
            return answer.json().then(function (data) {
                if (!data.success) throw new Error(data.error + (data.detail && data.detail !== data.error ? ": " + data.detail : ""));
                return data;
            });
        });
    }

    function say(text, kind) {
        message.textContent = text;
        message.className = "alert alert-" + (kind || "info");
        message.hidden = !text;
    }

    function failed(error) { say(error.message, "danger"); }

    function make(tag, text, attributes) {
        var element = document.createElement(tag);
        if (text !== undefined && text !== null) element.textContent = text;
        Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
        return element;
    }

    function fill(id, rows, empty) {
        var body = document.querySelector("#" + id + " tbody");
        body.textContent = "";
        rows.forEach(function (cells) {
            var row = make("tr");
            cells.forEach(function (cell) {
                var column = make("td");
                if (cell instanceof Node) column.appendChild(cell); else column.textContent = cell;
                row.appendChild(column);
            });
            body.appendChild(row);
        });
        if (!rows.length) {
            var row = make("tr");
            row.appendChild(make("td", empty, { colspan: "4" }));
            body.appendChild(row);
        }
    }

    function button(text, label, action) {
        var made = make("button", text, { type: "button", "class": "btn btn-default btn-sm", "aria-label": label });
        made.addEventListener("click", function () {
            made.disabled = true;
            action().catch(failed).then(function () { made.disabled = false; });
        });
        return made;
    }

    function loadSystems() {
        return call("GET", "tapis-storage/systems/").then(function (data) {
            fill("tapis-systems", data.systems.map(function (system) {
                return [system.id, system.description, system.host];
            }), "No systems are shared with you.");
        });
    }

    function showFlights() {
        fill("tapis-found", flights.map(function (flight) {
            var name = flight.flight_name + " (" + flight.system_id + ")";
            var imported = projects.some(function (project) { return project.name === name; });
            return [flight.flight_name, flight.system_id, String(flight.image_count),
                imported ? "imported" : button("Import", "Import " + name, function () {
                    return call("POST", "tapis-storage/create-projects/", { flights: [flight] }).then(loadProjects).then(function () {
                        say(name + " was imported.", "success");
                    });
                })];
        }), "Press “Discover flights”.");
    }

    function loadProjects() {
        return call("GET", "tapis-storage/flight-projects/").then(function (data) {
            projects = data.projects;
            fill("tapis-projects", projects.map(function (project) {
                var link = make("a", project.name, { href: "/dashboard/?project_task_open=" + project.id });
                var state = make("span", "", { "data-project": project.id });
                return [link, state, button("Sync images", "Sync images of " + project.name, function () {
                    return call("POST", "tapis-storage/sync-project-images/", { project_id: project.id }).then(function (data) {
                        follow(data.job_id, project.id);
                    });
                })];
            }), "No flight was imported yet.");
            showFlights();
        });
    }

    function size(bytes) {
        var units = ["bytes", "kB", "MB", "GB", "TB"], unit = 0;
        while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
        return bytes.toFixed(unit ? 1 : 0) + " " + units[unit];
    }

    function showJob(job, project) {
        var place = document.querySelector('[data-project="' + project + '"]');
        if (!place) return;
        place.textContent = "";
        if (job.state === "queued" || job.state === "running") {
            place.appendChild(make("progress", "", { max: Math.max(job.bytes_total, 1), value: job.bytes_done, "aria-label": "images fetched" }));
        }
        place.appendChild(document.createTextNode(" " + job.state + ", " + job.images_done + " of " + job.images_total + " images, " +
            size(job.bytes_done) + (job.rate && job.state === "running" ? ", " + size(job.rate) + "/s" : "")));
        if (job.error) place.appendChild(make("div", job.error, { "class": "text-danger" }));
    }

    function follow(id, project) {
        if (polls[project]) clearTimeout(polls[project]);
        call("GET", "tapis-storage/jobs/" + encodeURIComponent(id) + "/").then(function (data) {
            showJob(data.job, project);
            if (data.job.state === "queued" || data.job.state === "running") {
                polls[project] = setTimeout(function () { follow(id, project); }, 1500);
            }
        }).catch(failed);
    }

    function loadJobs() {
        return call("GET", "tapis-storage/jobs/").then(function (data) {
            var seen = {};
            data.jobs.forEach(function (job) {
                if (job.project_id === null || seen[job.project_id]) return;
                seen[job.project_id] = true;
                follow(job.id, job.project_id);
            });
        });
    }

    function loadPreferences() {
        return call("GET", "tapis-preferences/").then(function (data) {
            Array.prototype.forEach.call(form.elements, function (field) {
                if (!field.name) return;
                var value = data.preferences[field.name];
                if (field.type === "checkbox") field.checked = value;
                else field.value = Array.isArray(value) ? value.join("\n") : value;
            });
        });
    }

    form.addEventListener("submit", function (event) {
        event.preventDefault();
        var changes = {};
        Array.prototype.forEach.call(form.elements, function (field) {
            if (!field.name) return;
            if (field.type === "checkbox") changes[field.name] = field.checked;
            else if (field.type === "number") changes[field.name] = Number(field.value);
            else if (field.name === "preferred_systems") changes[field.name] = field.value.split(/\s+/).filter(Boolean);
            else changes[field.name] = field.value.trim();
        });
        call("POST", "tapis-preferences/", changes).then(function () { say("Preferences saved.", "success"); }).catch(failed);
    });

    function tellErrors(errors, otherwise) {
        if (errors && errors.length) say(errors.join("\n"), "warning"); else say(otherwise, "success");
    }

    document.getElementById("tapis-discover").addEventListener("click", function () {
        say("Looking for flights…");
        call("POST", "tapis-storage/discover-flights/", {}).then(function (data) {
            flights = data.flights;
            showFlights();
            tellErrors(data.errors, data.message || data.count + " flights found.");
        }).catch(failed);
    });

    document.getElementById("tapis-import-all").addEventListener("click", function () {
        say("Importing flights…");
        call("POST", "tapis-storage/create-projects/", { auto_discover: true }).then(function (data) {
            return loadProjects().then(function () {
                tellErrors(data.results.errors, data.message || data.results.projects_created + " projects created.");
            });
        }).catch(failed);
    });

    showFlights();
    loadPreferences().catch(failed);
    loadProjects().then(loadJobs).catch(failed);
    loadSystems().catch(failed);
}());
