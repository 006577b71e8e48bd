// Adds "Log in with Tapis" below WebODM's own login form, which has no hook for it. WebODM includes this on every page.
(function () {
    "use strict";

    function addButton() {
        var form = document.querySelector('form[action$="/login/"]');
        if (!form || document.getElementById("tapis-login")) return;
        var next = new URLSearchParams(window.location.search).get("next");
        var link = document.createElement("a");
        link.id = "tapis-login";
        link.className = "btn btn-default";
        link.href = "/api/oauth2/tapis/" + (next ? "?redirect_after=" + encodeURIComponent(next) : "");
        link.textContent = "Log in with Tapis";
        var box = document.createElement("p");
        box.className = "text-center";
        box.appendChild(link);
        form.parentNode.insertBefore(box, form.nextSibling);
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", addButton);
    else addButton();
})();
