// The page "My tokens": credit and its ledger, renewing and revoking tokens, and how to set up a rig.
import { base, get, post } from "./api.js";
import { button, byId, fill, make, note, show } from "./dom.js";
import { t } from "./i18n.js";
import { ago, bytes, count, moment } from "./words.js";

const SEEN_MS = 3000, GB = 1_000_000_000;
let known = null;

function say(problem) {
    fill(byId("os-notice"), note(problem.message, "error"));
}

// A bar that shows the credit used by scans, set aside for scans under way, and left.
function creditBar(token) {
    const { used, held, left } = token.use, all = Math.max(1, used + held + left);
    const share = (name, size, text) => make("span", { "class": `os-share os-share-${name}`, style: `width: ${100 * size / all}%`, title: text });
    const legend = (name, text) => make("li", {}, make("span", { "class": `os-dot os-share-${name}` }), text);
    const texts = { used: t("{size} used", { size: bytes(used) }), held: t("{size} set aside", { size: bytes(held) }), left: t("{size} left", { size: bytes(left) }) };
    return make("div", {}, make("div", { "class": "os-bar os-tall os-shares", role: "img", "aria-label": Object.values(texts).join(", ") },
        share("used", used, texts.used), share("held", held, texts.held)), make("ul", { "class": "os-legend" }, Object.entries(texts).map(([name, text]) => legend(name, text))));
}

function card(token) {
    const facts = [
        t("At most {photos} photos and {size} in one set", { photos: count(token.limit_photos), size: bytes(token.limit_filesize) }),
        token.daily ? t("topped up to {size} at 00:00 UTC", { size: bytes(token.daily) }) : "",
        token.seen_at ? t("last used {time}", { time: ago(token.seen_at) }) : t("never used"),
    ].filter(Boolean).join(" · ");
    const asking = make("div", {});
    return make("section", { "class": "os-card", "aria-label": t("Token {prefix}", { prefix: token.prefix }) },
        make("h2", {}, make("code", {}, `${token.prefix}…`), " ", token.person, " ",
            make("span", { "class": `os-tag os-${token.revoked ? "past" : token.kind === "public" ? "open" : "busy"}` }, token.revoked ? t("revoked") : token.kind)),
        creditBar(token), make("p", { "class": "os-quiet" }, facts),
        token.may_change ? make("div", { "class": "os-actions" },
            make("a", { "class": "os-button os-small", href: `${base}upload/?token=${token.id}` }, t("Upload")),
            token.asked ? make("span", { "class": "os-quiet" }, t("You asked for more credit. An administrator will decide.")) : button(t("Ask for more credit"), async () => askForMore(token, asking)),
            button(t("Renew"), () => renew(token), { "aria-label": t("Renew {prefix}", { prefix: token.prefix }) }),
            button(t("Revoke"), () => revoke(token), { "class": "os-button os-second os-small os-danger", "aria-label": t("Revoke {prefix}", { prefix: token.prefix }) })) : "",
        asking, ledger(token));
}

function ledger(token) {
    const list = make("ul", { "class": "os-list os-ledger" }), more = make("div", {});
    const load = async before => {
        try {
            const found = await get(`tokens/${token.id}/ledger?before=${before}`);
            list.append(...found.entries.map(entry => make("li", {}, make("span", { "class": "os-grow" }, entry.sentence, make("span", { "class": "os-quiet os-block" }, moment(entry.at))),
                make("span", { "class": "os-amount" }, make("b", { "class": entry.amount < 0 ? "os-minus" : "" }, entry.amount > 0 ? `+${bytes(entry.amount)}` : bytes(entry.amount)), make("span", { "class": "os-quiet os-block" }, t("{size} left", { size: bytes(entry.balance) }))))));
            if (!list.children.length) list.append(make("li", {}, t("Nothing yet.")));
            fill(more, found.more ? button(t("Show older entries"), () => load(found.entries[found.entries.length - 1].id)) : "");
        } catch (problem) {
            fill(more, note(problem.message, "error"));
        }
    };
    const details = make("details", {}, make("summary", {}, t("What used the credit")), list, more);
    details.addEventListener("toggle", () => { if (details.open && !list.children.length) load(""); });
    return details;
}

function askForMore(token, place) {
    const wanted = make("input", { type: "number", min: 1, max: 100_000, value: 50, required: true, id: `os-more-${token.id}` });
    const reason = make("input", { maxlength: 500, id: `os-why-${token.id}` });
    const send = async event => {
        event.preventDefault();
        try {
            await post(`tokens/${token.id}/credit`, { bytes: Number(wanted.value) * GB, reason: reason.value });
            await load();
            fill(byId("os-notice"), note(t("The administrators were notified. You will get an email when you have more credit."), "good"));
        } catch (problem) {
            fill(place, note(problem.message, "error"));
        }
    };
    fill(place, make("form", { onsubmit: send }, make("div", { "class": "os-fields" }, make("label", { "for": wanted.id }, t("How many gigabytes"), wanted), make("label", { "for": reason.id }, t("What for"), reason)),
        make("div", { "class": "os-actions" }, make("button", { "class": "os-button os-small", type: "submit" }, t("Ask")))));
    wanted.focus();
}

// Show a token's text. This is the only time that it can be seen.
function showText(text, told) {
    const field = make("input", { type: "text", readonly: true, value: text, spellcheck: "false", "aria-label": t("The token's text") });
    fill(byId("os-new"), make("section", { "class": "os-card os-once" }, make("h2", {}, told), make("p", {}, t("Copy it now. It is shown only once. Anyone who has it can send photos on your credit.")),
        make("div", { "class": "os-row" }, make("span", { "class": "os-field os-grow" }, field), button(t("Copy"), async () => { field.select(); await navigator.clipboard.writeText(text); }, { "class": "os-button" })),
        make("div", { "class": "os-actions" }, button(t("I have it"), async () => fill(byId("os-new"))))));
    byId("os-new").scrollIntoView({ block: "nearest" });
    field.select();
}

async function renew(token) {
    if (!window.confirm(t("Give this token a new text? The old text stops working at once, and your rigs need the new one. Credit and scans stay."))) return;
    try {
        const renewed = await post(`tokens/${token.id}/rotate`);
        await load();
        showText(renewed.text, t("The new text of your token"));
    } catch (problem) {
        say(problem);
    }
}

async function revoke(token) {
    if (!window.confirm(t("Revoke this token for good? Nothing can be sent with it any more, and its credit is lost."))) return;
    try {
        await post(`tokens/${token.id}/revoke`);
        if (base === "/openscan/") location.assign(base);
        else await load();
    } catch (problem) {
        say(problem);
    }
}

// --- a rig

function steps(client, host) {
    const code = text => make("code", {}, text), item = (...children) => make("li", {}, children);
    const rig = byId("os-rig").dataset, yourToken = t("your token, all 32 characters");
    if (client === "openscan3") return [item(t("Open the rig's web page and go to Settings, then Cloud.")), item(t("Host:"), " ", code(host)), item(t("User:"), " ", code(rig.user), ", ", t("password:"), " ", code(rig.password)), item(t("Token:"), " ", yourToken), item(t("Split size:"), " ", code("200000000")), item(t("Save."))];
    if (client === "openscan2") return [item(t("OpenScan2 keeps the address in a Python file on the rig. Sign in to the Raspberry Pi (ssh) and find the file:"), make("pre", {}, code("sudo grep -rl --include=*.py 'osc_server *=' / 2>/dev/null"))),
        item(t("Open it (put its name in place of FILE):"), make("pre", {}, code("sudo nano FILE"))), item(t("Replace the address between the quotes, with the slash at its end:"), make("pre", {}, code(`osc_server = '${host}/'`))),
        item(t("Restart the rig:"), make("pre", {}, code("sudo reboot"))), item(t("On the rig's page, in Settings, then OpenScanCloud, enter the token:"), " ", yourToken, ". ", t("Wait until the page shows the credit, then upload. A firmware update restores the old address; change it again afterwards."))];
    if (client === "program") return [item(t("Start it, and enter as server:"), " ", code(host)), item(t("Token:"), " ", yourToken), item(t("Choose a folder with photos and press Upload. Or on a command line:"), make("pre", {}, code(`openscan-upload token --server ${host}\nopenscan-upload FOLDER --wait`)))];
    if (client === "uploader") return [item(t("Open uploader.py in an editor and set at its top:"), make("pre", {}, code(`server = '${host}/'\ntoken = '…'`))), item(t("Token:"), " ", yourToken), item(t("Run it:"), make("pre", {}, code("python3 uploader.py")))];
    if (client === "windows") return [item(t("Open WindowsUploader.py in an editor and set, near its end:"), make("pre", {}, code(`server = '${host}/'`))), item(t("Start it, and enter the token in its window:"), " ", yourToken)];
    return [item(t("Show what your token has left. This reads the token from the terminal, so that it does not get into your shell's history:"), make("pre", {}, code(`read -rs TOKEN\nprintf 'Authorization: Bearer %s' "$TOKEN" | curl -H @- ${host}/getTokenInfo`)))];
}

async function watch() {
    const token = byId("os-rig-token").value;
    if (token && !document.hidden) {
        try {
            const { seen_at: seen } = await get(`tokens/${token}/seen`);
            fill(byId("os-rig-seen"), seen ? t("Last contact {time}. The rig reaches this server with this token.", { time: ago(seen) }) : t("Waiting for the first contact …"));
            byId("os-rig-seen").className = seen ? "os-note os-good" : "os-note";
        } catch (problem) {
            fill(byId("os-rig-seen"), problem.message);
        }
    }
    setTimeout(watch, SEEN_MS);
}

function drawSteps() {
    fill(byId("os-rig-steps"), make("ol", { "class": "os-steps" }, steps(byId("os-rig-client").value, byId("os-rig").dataset.host)));
}

async function load() {
    known = await get("tokens");
    fill(byId("os-tokens"), known.tokens.length ? known.tokens.map(card) : make("p", {}, t("You have no token yet."), " ", known.may_create ? "" : make("a", { href: "/openscan/ask/" }, t("Ask for one."))));
    show(byId("os-create"), known.may_create);
    const usable = known.tokens.filter(each => !each.revoked), before = byId("os-rig-token").value;
    show(byId("os-rig"), usable.length > 0);
    fill(byId("os-rig-token"), usable.map(each => make("option", { value: each.id, selected: String(each.id) === before }, `${each.prefix}… ${each.person}`)));
}

byId("os-create-form").addEventListener("submit", async event => {
    event.preventDefault();
    try {
        const made = await post("tokens", Object.fromEntries(new FormData(event.target)));
        await load();
        showText(made.text, t("Your new token"));
    } catch (problem) {
        say(problem);
    }
});
byId("os-rig-client").addEventListener("change", drawSteps);
drawSteps();
load().then(watch, say);
