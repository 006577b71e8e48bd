// The menu button on small screens. WebODM's PluginsAPI, which draws on React, is not here.
(function () {
  "use strict";
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest(".navbar-toggle");
    if (!button) return;
    var open = document.getElementById("sidebar").classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
  });
})();
