// Calls this server's API for its pages, and turns errors into messages for people.
import { byId } from "./dom.js";
import { t } from "./i18n.js";

const main = byId("os-main");
export const base = main.dataset.base;

// `status` is 0 if nothing answered. `signIn` is set if only a new login helps.
export class Problem extends Error {
    constructor(message, status = 0, signIn = false) {
        super(message);
        this.status = status;
        this.signIn = signIn;
    }
}

// The CSRF token is in a cookie and changes when somebody signs in in another tab. The page holds a copy for browsers without the cookie.
function csrfToken() {
    const found = document.cookie.split("; ").find(each => each.startsWith(main.dataset.csrfCookie + "="));
    return found ? found.slice(main.dataset.csrfCookie.length + 1) : main.dataset.csrf;
}

// The server's answer to a call, as an object. Throws only a Problem.
export async function call(method, path, body, signal) {
    const options = { method, credentials: "same-origin", cache: "no-store", headers: { "Accept": "application/json" }, signal };
    if (method !== "GET") options.headers["X-CSRFToken"] = csrfToken();
    if (body !== undefined) {
        options.headers["Content-Type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    let answer, text;
    try {
        answer = await fetch(main.dataset.api + path, options);
        text = await answer.text();
    } catch (error) {
        throw new Problem(t("The server does not answer. Check the network connection; nothing is lost."));
    }
    let data = null;
    try {
        data = JSON.parse(text);
    } catch (error) {
        throw notData(answer);
    }
    if (!answer.ok) throw new Problem(data.error || t("The server refused this (status {status}).", { status: answer.status }), answer.status, answer.status === 401);
    return data;
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const post = (path, body = {}) => call("POST", path, body);

// The answer was a page instead of data: a proxy's page during an outage, or Django's page about an expired CSRF token.
function notData(answer) {
    const status = answer.status;
    if (status === 403) return new Problem(t("This page is out of date. Reload it. What was sent stays on the server."), status);
    if (status === 404) return new Problem(t("The server does not know this address. Its OpenScan plugin may be disabled; ask this site's support."), status);
    if (status >= 500) return new Problem(t("The server cannot be reached at the moment (status {status}). Try again in a minute.", { status }), status);
    return new Problem(t("A proxy between this page and the server answered instead (status {status}).", { status }), status);
}
