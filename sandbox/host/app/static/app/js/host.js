// The menu button on small screens, and the little of WebODM's PluginsAPI that scripts of plugins look for.
(function () {
  "use strict";
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest(".navbar-toggle");
    if (!button) return;
    var open = document.getElementById("sidebar").classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
  });

  // Registered buttons are kept and handed to the dashboard. Only plain functions are supported: there is no React here.
  function registry() {
    var items = [];
    return { add: function (dependencies, callback) { items.push(callback || dependencies); }, items: items };
  }
  var importItems = registry(), actionButtons = registry(), taskButtons = registry();
  window.PluginsAPI = window.PluginsAPI || {
    Dashboard: {
      addImportTaskItem: importItems.add,
      addNewTaskButton: actionButtons.add,
      addTaskActionButton: taskButtons.add
    }
  };
})();
