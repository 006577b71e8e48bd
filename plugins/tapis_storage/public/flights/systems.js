// The systems that Tapis shows to the user.
import { call } from "./api.js";
import { byId, fillTable } from "./dom.js";
import { t } from "./i18n.js";
import { Notice } from "./notice.js";

export class Systems {
    constructor() {
        this.table = byId("tapis-systems");
        this.notice = new Notice(byId("tapis-systems-notice"));
    }

    async load() {
        this.notice.busy(t("Asking Tapis for your systems."));
        try {
            const { systems } = await call("GET", "tapis-storage/systems/");
            this.notice.clear();
            fillTable(this.table, systems.map(({ id, description, host }) => ({ system: id, description, host })),
                t("Tapis shows you no system whose id starts with {prefix} — ask the project's creator to add you.", { prefix: this.table.dataset.prefix }));
        } catch (error) {
            this.notice.problem(error, () => this.load());
        }
    }
}
