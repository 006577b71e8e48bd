// Keeps the dashboard's tasks up to date through the API: state, progress, results, and the buttons.
(function () {
  "use strict";
  var WORDS = { 10: "queued", 20: "running", 30: "failed", 40: "completed", 50: "canceled" };
  var ACTIONS = { 1: "canceling", 2: "removing", 3: "restarting", 4: "resizing images", 5: "importing", 6: "compacting" };
  var DOWNLOADS = ["textured_model.glb", "textured_model.zip", "georeferenced_model.laz", "all.zip"];
  var PERIOD = 3000;
  var board = document.getElementById("dashboard");
  var csrf = board.dataset.csrf;
  var expanded = new URLSearchParams(location.search).getAll("project_task_expanded").join(",").split(",");
  var scrolled = false;

  function element(tag, className, text) {
    var made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function stateOf(task) {
    if (task.pending_action) return ACTIONS[task.pending_action];
    if (task.status) return WORDS[task.status];
    if (task.partial || (!task.processing_node && !task.auto_processing_node)) return "waiting for files";
    if (task.processing_node && task.upload_progress < 1) return "uploading to " + task.processing_node_name;
    return "waiting for a processing node";
  }

  function duration(milliseconds) {
    var seconds = Math.max(0, Math.round(milliseconds / 1000)), minutes = Math.floor(seconds / 60);
    return minutes ? minutes + " min " + (seconds % 60) + " s" : seconds + " s";
  }

  function draw(project, task) {
    var base = "/api/projects/" + project + "/tasks/" + task.id + "/";
    var row = element("div", "task" + (expanded.indexOf(task.id) >= 0 ? " expanded" : ""));
    row.id = "task-" + task.id;
    row.appendChild(element("span", "task-name", task.name || "unnamed"));
    var kind = { 30: "label-danger", 40: "label-success", 20: "label-info" }[task.status] || "";
    row.appendChild(element("span", "label " + kind, stateOf(task)));
    var facts = [task.images_count + " images"];
    if (task.processing_node_name) facts.push(task.processing_node_name);
    if (task.processing_time > 0) facts.push(duration(task.processing_time));
    facts.push(Math.round(task.size * 10) / 10 + " MB");
    row.appendChild(element("div", "task-facts", facts.join(" · ")));
    if (task.last_error) row.appendChild(element("div", "task-error", task.last_error));
    var share = task.status === 40 ? 1 : task.running_progress || 0;
    if (task.status === 20 || task.status === 10) {
      var bar = element("div", "progress"), inner = element("div", "progress-bar");
      inner.style.width = Math.round(share * 100) + "%";
      bar.setAttribute("role", "progressbar");
      bar.setAttribute("aria-valuenow", Math.round(share * 100));
      bar.appendChild(inner);
      row.appendChild(bar);
    }
    var actions = element("div", "task-actions");
    DOWNLOADS.forEach(function (asset) {
      if (task.available_assets.indexOf(asset) < 0 || task.status !== 40) return;
      var link = element("a", "btn btn-sm", asset);
      link.href = base + "download/" + asset;
      actions.appendChild(link);
    });
    function button(label, name, question) {
      var made = element("button", "btn btn-sm", label);
      made.type = "button";
      made.addEventListener("click", function () {
        if (question && !window.confirm(question)) return;
        made.disabled = true;
        fetch(base + name + "/", { method: "POST", credentials: "same-origin", headers: { "X-CSRFToken": csrf } })
          .then(refresh);
      });
      actions.appendChild(made);
    }
    if (!task.pending_action) {
      if (!task.status || task.status < 30) button("Cancel", "cancel");
      else button("Restart", "restart");
      button("Delete", "remove", "Delete this task and its files?");
    }
    row.appendChild(actions);
    return row;
  }

  function show(project, tasks) {
    var place = project.querySelector("[data-tasks]");
    place.textContent = "";
    if (!tasks.length) place.appendChild(element("p", "muted", "No tasks yet."));
    tasks.forEach(function (task) { place.appendChild(draw(project.dataset.project, task)); });
    var wanted = place.querySelector(".expanded");
    if (wanted && !scrolled) { scrolled = true; wanted.scrollIntoView({ block: "center" }); }
  }

  function refresh() {
    return Promise.all(Array.prototype.map.call(board.querySelectorAll("[data-project]"), function (project) {
      return fetch("/api/projects/" + project.dataset.project + "/tasks/?ordering=-created_at", { credentials: "same-origin" })
        .then(function (response) { return response.ok ? response.json() : null; })
        .then(function (tasks) { if (tasks) show(project, tasks); });
    }));
  }

  function loop() {
    var wait = function () { setTimeout(loop, PERIOD); };
    refresh().then(wait, wait);
  }
  loop();
})();
