// The user's logins to Tapis: until when each holds, a warning before its end, renewing and disconnecting.
import { call, Problem } from "./api.js";
import { button, byId, fill, make } from "./dom.js";
import { t } from "./i18n.js";
import { loginLink, Notice } from "./notice.js";
import { hour } from "./words.js";

const LOOK_SECONDS = 60;

export class Account {
    // changed: called when the user has no login any more, so that the page no longer fits
    constructor(changed) {
        this.place = byId("tapis-account");
        this.notice = new Notice(byId("tapis-account-notice"));
        this.changed = changed;
    }

    // What the page came with stays until the first answer, and while there is none: the connection's notice says that.
    async load() {
        try {
            const { tokens } = await call("GET", "oauth2/tapis/status/");
            if (tokens.length) this.show(tokens);
            else this.changed();
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (error.login) this.notice.problem(error);
        }
    }

    watch() {
        this.load();
        this.timer = setInterval(() => this.load(), LOOK_SECONDS * 1000);
    }

    show(tokens) {
        const looks = JSON.stringify(tokens.map(({ seconds_left, ...rest }) => rest));
        if (this.shown === looks) return;  // what somebody is about to press stays where it is
        this.shown = looks;
        fill(this.place, ...tokens.map(token => this.token(token)));
    }

    token(token) {
        const who = [t("Logged in to Tapis as") + " ", make("strong", {}, token.tapis_username), " " + t("(tenant {tenant})", { tenant: token.tenant_id })];
        const leave = button(t("Disconnect"), t("Disconnect {user} (tenant {tenant})", { user: token.tapis_username, tenant: token.tenant_id }),
            () => this.disconnect(token));
        if (!token.is_valid) {
            return make("div", { "class": "alert alert-warning" }, t("Your Tapis login as") + " ", make("strong", {}, token.tapis_username),
                " " + t("(tenant {tenant}) has ended: {reason}", { tenant: token.tenant_id, reason: token.invalid_reason }), make("p", {}, loginLink("tapis"), " ", leave));
        }
        if (token.warning) {
            const renew = token.can_refresh ? button(t("Renew"), t("Renew the login of {user}", { user: token.tapis_username }), () => this.renew(token), "primary")
                : loginLink("tapis");
            return make("div", { "class": "alert alert-warning" }, ...who, ". ", token.warning, make("p", {}, renew, " ", leave));
        }
        const until = token.can_refresh ? t(". WebODM renews this login automatically.") : " " + t("until {time}.", { time: hour(token.expires_at) });
        return make("p", {}, ...who, until, " ", leave);
    }

    async renew(token) {
        try {
            await call("POST", `oauth2/tapis/refresh/${encodeURIComponent(token.client_id)}/`, { tenant_id: token.tenant_id });
            this.notice.clear();
            await this.load();
        } catch (error) {
            this.notice.problem(error, () => this.renew(token));
        }
    }

    async disconnect(token) {
        if (!window.confirm(t("Disconnect {user} from this WebODM? Your projects stay. Syncs stop until you log in again.",
            { user: token.tapis_username }))) return;
        try {
            const answer = await call("POST", `oauth2/tapis/revoke/${encodeURIComponent(token.client_id)}/`, { tenant_id: token.tenant_id });
            if (answer.revoked_at_tapis) return void this.changed();
            clearInterval(this.timer);  // a page that is loaded again would not say this
            fill(this.place);
            this.notice.say(`${answer.message} ${answer.detail}`, "warning", [], make("p", {}, loginLink("tapis")));
        } catch (error) {
            this.notice.problem(error, () => this.disconnect(token));
        }
    }
}
