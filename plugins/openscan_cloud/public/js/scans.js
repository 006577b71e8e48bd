// The list of scans. Its filters and page number are in the address, so that "back" and links work.
import { base, get } from "./api.js";
import { bar, byId, fill, make, note } from "./dom.js";
import { t, tn } from "./i18n.js";
import { count, moment } from "./words.js";

const FIELDS = ["q", "group", "sort"], REFRESH_MS = 10_000, TYPING_MS = 300;
const WORDS = {
    "created": () => t("Uploading"), "initialized": () => t("Checking"), "file approved": () => t("Waiting"),
    "processing started": () => t("Being made"), "processing done": () => t("Ready"), "processing failed": () => t("Failed"), "expired": () => t("Expired"),
};
let asked = 0, last = "", timer = null;

function wanted() {
    return new URLSearchParams(location.search);
}

function card(scan) {
    const picture = scan.picture ? make("img", { src: `${byId("os-main").dataset.api}scans/${scan.key}/picture?${scan.picture}`, alt: "", loading: "lazy", width: 320, height: 200 }) : null;
    if (picture) picture.addEventListener("error", () => picture.remove());
    const told = scan.place ? t("number {n} in the queue", { n: count(scan.place) }) : scan.error;
    return make("li", {}, make("a", { "class": "os-scan", href: `${base}scans/${scan.key}/` },
        make("span", { "class": "os-picture" }, picture),
        make("span", { "class": "os-scan-text" },
            make("b", { "class": "os-clip", title: scan.name }, scan.name),
            make("span", {}, make("span", { "class": `os-tag os-${scan.tone}` }, (WORDS[scan.status] || (() => scan.status))()),
                scan.status === "processing started" ? ` ${Math.floor(100 * scan.progress)} %` : ""),
            scan.status === "processing started" ? bar(scan.progress, t("Progress")) : "",
            make("span", { "class": "os-quiet" }, tn("{n} photo", "{n} photos", scan.photos), " · ", moment(scan.created_at)),
            told ? make("span", { "class": "os-quiet os-clip2" }, told) : "",
            scan.left_out ? make("span", { "class": "os-quiet" }, tn("{n} file left out", "{n} files left out", scan.left_out)) : "")));
}

function pages(found) {
    if (found.pages < 2) return [];
    const to = (number, text) => {
        const query = wanted();
        query.set("page", number);
        return make("a", { "class": "os-button os-second os-small", href: `?${query}` }, text);
    };
    return [found.page > 1 ? [to(1, t("First")), to(found.page - 1, t("Back"))] : "",
        make("span", {}, t("Page {n} of {all}", { n: count(found.page), all: count(found.pages) })),
        found.page < found.pages ? [to(found.page + 1, t("Next")), to(found.pages, t("Last"))] : ""];
}

async function load() {
    clearTimeout(timer);
    const number = ++asked;
    try {
        const found = await get(`scans?${wanted()}`);
        if (number !== asked) return;
        fill(byId("os-notice"));
        const now = JSON.stringify(found);
        if (now !== last) draw(found);
        last = now;
    } catch (problem) {
        if (number === asked) fill(byId("os-notice"), note(problem.message, "error"));
    }
    if (number === asked) timer = setTimeout(load, document.hidden ? 6 * REFRESH_MS : REFRESH_MS);
}

function draw(found) {
    const filtered = wanted().get("q") || wanted().get("group");
    fill(byId("os-total"), found.total ? tn("{n} scan", "{n} scans", found.total)
        : filtered ? t("No scan matches.") : t("There are no scans yet. Upload photos, or send them with your rig."));
    fill(byId("os-scans"), found.scans.map(card));
    fill(byId("os-pages"), pages(found));
}

function change() {
    const query = wanted();
    for (const name of FIELDS) {
        const value = byId(`os-${name}`).value;
        value && value !== "newest" ? query.set(name, value) : query.delete(name);
    }
    query.delete("page");
    history.replaceState(null, "", `?${query}`);
    load();
}

for (const name of FIELDS) byId(`os-${name}`).value = wanted().get(name) || (name === "sort" ? "newest" : "");
let typing = null;
byId("os-q").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(change, TYPING_MS); });
for (const name of ["group", "sort"]) byId(`os-${name}`).addEventListener("change", change);
byId("os-filter").addEventListener("submit", event => { event.preventDefault(); change(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
load();
