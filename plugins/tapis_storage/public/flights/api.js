// Calls of the REST API, and what went wrong with one in words for people. Whatever answers, no parser's words reach the page.

import { t } from "./i18n.js";

// fields: what is wrong with each field of a form; login: "tapis" or "webodm" where a new login helps.
export class Problem extends Error {
    constructor(message, { status = 0, fields = {}, login = "" } = {}) {
        super(message);
        this.status = status;
        this.fields = fields;
        this.login = login;
    }
}

const TAPIS_LOGIN = ["No Tapis token found", "Token expired", "Invalid Tapis token"];
const TOO_OLD = t("This page was open for too long. Reload it, then try again.");

// WebODM's token is in a cookie, and changes when somebody signs in in another tab; the page's own copy is for when it cannot be read.
function csrfToken() {
    const cookie = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
    return cookie ? cookie[1] : document.getElementById("tapis-flights").dataset.csrf;
}

// What the API answers to a call, as an object. Throws a Problem, and nothing else.
export async function call(method, path, body) {
    const options = { method, credentials: "same-origin", headers: { "Accept": "application/json" } };
    if (method !== "GET") options.headers["X-CSRFToken"] = csrfToken();
    if (body !== undefined) {
        options.headers["Content-Type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    let answer, text;
    try {
        answer = await fetch("/api/" + path, options);
        text = await answer.text();
    } catch (error) {
        throw new Problem(t("WebODM does not answer. Is this computer connected to the network?"));
    }
    const data = parsed(text);
    if (data === null) throw notData(answer);
    if (!answer.ok || data.success === false) throw refusal(answer.status, data);
    return data;
}

function parsed(text) {
    try {
        const data = JSON.parse(text);
        return typeof data === "object" ? data : null;
    } catch (error) {
        return null;
    }
}

// A page in place of data: a proxy's on an outage, a login's, or Django's on a CSRF token that is over.
function notData(answer) {
    const status = answer.status;
    if (answer.redirected && answer.url.includes("/login/")) {
        return new Problem(t("You are no longer signed in to WebODM."), { status, login: "webodm" });
    }
    if (status === 403) return new Problem(TOO_OLD, { status });
    if (status === 404) return new Problem(t("WebODM does not know this address: the Tapis plugin may have been switched off."), { status });
    if (status >= 500) return new Problem(t("WebODM cannot be reached at the moment (status {status}). Wait a little, then try again.", { status }), { status });
    return new Problem(t("Something between this page and WebODM answered in its place (status {status}).", { status }), { status });
}

function refusal(status, data) {
    const error = data.error || t("WebODM refused this"), detail = String(data.detail || "");
    if (error === "Not logged in") return new Problem(t("You are no longer signed in to WebODM."), { status, login: "webodm" });
    if (detail.startsWith("CSRF Failed")) return new Problem(TOO_OLD, { status });
    const message = !detail || detail === error ? error : detail.startsWith(error) ? detail : `${error}: ${detail}`;
    return new Problem(message, { status, fields: data.fields || {}, login: TAPIS_LOGIN.includes(error) ? "tapis" : "" });
}
