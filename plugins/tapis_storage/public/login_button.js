// Adds "Log in with Tapis" below WebODM's own login form, which has no hook for it. WebODM includes this on every page.
(function () {
    "use strict";
    var INDEX = "/api/oauth2/tapis/";

    // Where the button leads: straight to Tapis where one client is registered, to the choice among several, nowhere without any.
    function address(clients, query) {
        if (clients.length === 1) return clients[0].authorize;
        return clients.length ? INDEX + query : "";
    }

    function addButton(form, href) {
        if (!href || document.getElementById("tapis-login")) return;
        var link = document.createElement("a");
        link.id = "tapis-login";
        link.className = "btn btn-default";
        link.href = href;
        link.textContent = "Log in with Tapis";
        var box = document.createElement("p");
        box.className = "text-center";
        box.style.marginTop = "1em";
        box.appendChild(link);
        form.parentNode.insertBefore(box, form.nextSibling);
    }

    function look() {
        var form = document.querySelector('form[action$="/login/"]');
        if (!form) return;
        var next = new URLSearchParams(window.location.search).get("next");
        var query = next ? "?redirect_after=" + encodeURIComponent(next) : "";
        fetch(INDEX + query, { headers: { "Accept": "application/json" }, credentials: "same-origin" }).then(function (answer) {
            if (!answer.ok) throw new Error("status " + answer.status);
            return answer.json();
        }).then(function (data) {
            addButton(form, address(data.clients || [], query));
        }).catch(function () {
            addButton(form, INDEX);  // Tapis' page says what is wrong; a "next" that it does not take is left out
        });
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", look);
    else look();
})();
