// One message box a section, so that what fails here does not hide what fails there.
import { Problem } from "./api.js";
import { button, fill, make } from "./dom.js";
import { t } from "./i18n.js";

const LOGINS = {
    tapis: ["/api/oauth2/tapis/?redirect_after=/plugins/tapis_storage/", t("Log in with Tapis")],
    webodm: ["/login/?next=/plugins/tapis_storage/", t("Sign in")],
};

export function loginLink(which) {
    const [href, text] = LOGINS[which];
    return make("a", { href, "class": "btn btn-primary btn-sm" }, text);
}

export class Notice {
    constructor(place) {
        this.place = place;
    }

    clear() {
        fill(this.place);
    }

    // kind: success, info, warning, danger; lines: said one below the other
    say(text, kind = "info", lines = [], ...more) {
        const list = lines.length ? make("ul", {}, ...lines.map(line => make("li", {}, line))) : null;
        fill(this.place, make("div", { "class": `alert alert-${kind}` }, make("div", {}, text), list, ...more));
    }

    // Something takes a while, and how far it is cannot be told.
    busy(text) {
        this.say(text, "info", [], make("progress", { "aria-label": text }));
    }

    // What went wrong, with the login that helps, or the way to try it again. Faults of the page itself are thrown on.
    problem(error, again = null) {
        if (!(error instanceof Problem)) throw error;
        let remedy = null;
        if (error.login) {
            remedy = make("p", {}, loginLink(error.login));
        } else if (again) {
            remedy = make("p", {}, button(t("Try again"), t("Try again: {what}", { what: error.message }), again));
        }
        this.say(error.message, "danger", [], remedy);
    }
}
