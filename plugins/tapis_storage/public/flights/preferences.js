// The user's preferences. What WebODM refuses is said at the field that it is about.
import { call } from "./api.js";
import { byId, make, whileBusy } from "./dom.js";
import { t } from "./i18n.js";
import { Notice } from "./notice.js";

export class Preferences {
    constructor() {
        this.form = byId("tapis-preferences");
        this.notice = new Notice(byId("tapis-preferences-notice"));
        this.form.addEventListener("submit", event => {
            event.preventDefault();
            whileBusy(this.form.querySelector("[type=submit]"), () => this.save());
        });
    }

    get fields() {
        return Array.from(this.form.elements).filter(field => field.name);
    }

    // The email address belongs to the WebODM user, so the API keeps it apart from the preferences.
    get email() {
        return this.form.elements.email;
    }

    async load() {
        try {
            const { email } = await call("GET", "tapis-preferences/email/");
            this.show({ ...(await call("GET", "tapis-preferences/")).preferences, email });
            this.notice.clear();
        } catch (error) {
            this.notice.problem(error, () => this.load());
        }
    }

    show(preferences) {
        for (const field of this.fields) {
            const value = preferences[field.name];
            if (field.type === "checkbox") field.checked = value;
            else if (Array.isArray(value)) field.value = value.join("\n");
            else this.choose(field, value);
        }
    }

    // A preset that was deleted since is shown as what it is.
    choose(field, value) {
        if (field.options && !Array.from(field.options).some(option => option.value === value)) {
            field.append(make("option", { value }, t("{preset} (deleted)", { preset: value })));
        }
        field.value = value;
    }

    async save() {
        const changes = {};
        for (const field of this.fields.filter(each => each !== this.email)) {
            if (field.type === "checkbox") changes[field.name] = field.checked;
            else if (field.type === "number") changes[field.name] = Number(field.value);
            else if (field.name === "preferred_systems") changes[field.name] = field.value.split(/\s+/).filter(Boolean);
            else changes[field.name] = field.value.trim();
        }
        this.mark({});
        let said = t("Nothing was saved. Correct what is marked above.");
        try {
            const address = this.email.value.trim();
            const { preferences } = await call("POST", "tapis-preferences/", changes);
            said = t("Everything but the email address was saved. Correct what is marked above.");
            const { email } = await call("POST", "tapis-preferences/email/", { email: address });
            this.show({ ...preferences, email });
            this.notice.say(t("The preferences are saved."), "success");
        } catch (error) {
            const marked = this.mark(error.fields || {});
            if (marked) this.notice.say(said, "danger");
            else this.notice.problem(error, () => this.save());
        }
    }

    // Say what is wrong at each field named ("preferred_systems[2]" is of preferred_systems). Returns how many were found.
    mark(wrong) {
        let marked = 0;
        for (const field of this.fields) {
            const reasons = Object.entries(wrong).filter(([name]) => name.replace(/\[.*/, "") === field.name);
            const place = field.closest("p").querySelector(".tapis-wrong");
            place.textContent = reasons.map(([name, reason]) => this.reason(field, name, reason)).join("; ");
            field.setAttribute("aria-invalid", String(reasons.length > 0));
            marked += reasons.length;
        }
        return marked;
    }

    reason(field, name, reason) {
        const number = /\[(\d+)\]$/.exec(name);
        return number ? `${field.value.split(/\s+/).filter(Boolean)[number[1]]} ${reason}` : reason;
    }
}
