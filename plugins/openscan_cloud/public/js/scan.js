// A scan's page. It follows the scan while it is under way and shows the finished model, which can be rotated.
import { base, get, post } from "./api.js";
import { bar, button, byId, fill, make, note, show } from "./dom.js";
import { t, tn } from "./i18n.js";
import { bytes, count, duration, moment } from "./words.js";

const root = byId("os-scan"), key = root.dataset.key, api = `scans/${key}`;
const FAST_MS = 3000, SLOW_MS = 60_000, LONGEST_MS = 60_000;
let last = null, viewer = null, failures = 0;

const TITLES = {
    "created": () => t("Uploading"), "initialized": () => t("Checking the photos"), "file approved": () => t("Waiting for its turn"),
    "processing started": () => t("Making the model"), "processing done": () => t("The model is ready"),
    "processing failed": () => t("There is no model"), "expired": () => t("Expired"),
};
const STAGES = {
    created: () => t("Upload began"), initialized: () => t("All photos arrived"), approved: () => t("In the queue"),
    released: () => t("Processing began"), done: () => t("Model ready"), failed: () => t("Failed"), expired: () => t("Ended"), reset: () => t("Deleted"),
};

// Events that need no reason: their stage says it all.
const PLAIN = new Set(["create", "start", "approve", "complete"]);

function stateSection(scan) {
    const title = (TITLES[scan.status] || (() => scan.status))();
    const lines = [];
    let progress = null;
    if (scan.status === "created") {
        lines.push(t("{received} of {all} files have arrived ({bytes} of {total}).", { received: count(scan.received_parts), all: count(scan.parts), bytes: bytes(scan.received_bytes), total: bytes(scan.bytes) }));
        progress = scan.received_bytes / scan.bytes;
    }
    if (scan.status === "initialized") lines.push(t("The server checks each photo before using it."));
    if (scan.queue_position) lines.push(scan.queue_position === 1 ? t("It is next.") : t("It is number {n} in the queue.", { n: count(scan.queue_position) }));
    if (scan.wait_seconds) lines.push(t("It will start in about {time}.", { time: duration(scan.wait_seconds) }));
    if (scan.status === "processing started") {
        progress = scan.progress;
        lines.push(t("{percent} % done{node}", { percent: Math.floor(100 * scan.progress), node: scan.node ? t(" on {node}", { node: scan.node }) : "" }));
    }
    if (scan.status === "processing done") {
        lines.push([tn("{n} photo", "{n} photos", scan.images || scan.photos), scan.processing_seconds ? t("made in {time}", { time: duration(scan.processing_seconds) }) : "",
            scan.result ? t("available until {time}", { time: moment(scan.result.expires_at) }) : ""].filter(Boolean).join(" · "));
    }
    if (scan.status === "expired") lines.push(scan.error || t("The result has expired and was removed. Send the photos again if you need it."));
    if (scan.message) lines.push(scan.message);
    return [
        make("p", { "class": "os-headline", id: "os-state-title" }, make("span", { "class": `os-tag os-${scan.tone}` }, title)),
        lines.map(line => make("p", {}, line)),
        progress === null ? "" : bar(progress, title),
        scan.error ? note(scan.error, "error") : "",
        actions(scan),
    ];
}

function actions(scan) {
    const found = [];
    if (scan.result) found.push(make("a", { "class": "os-button", href: scan.result.link, download: true }, t("Download ({size})", { size: bytes(scan.result.bytes) })));
    if (scan.status === "created" && scan.may_change && scan.from_browser) found.push(make("a", { "class": "os-button", href: `${base}upload/` }, t("Continue the upload")));
    if (scan.model_url) found.push(make("a", { "class": "os-button os-second", href: scan.model_url }, t("Open in WebODM")));
    else if (scan.task_url) found.push(make("a", { "class": "os-button os-second", href: scan.task_url }, t("Open task in WebODM")));
    if (scan.may_change && scan.result) found.push(button(t("Share"), () => shareForm(), { "class": "os-button os-second" }));
    return found.length ? make("div", { "class": "os-actions" }, found) : "";
}

function moreSections(scan) {
    const sections = [];
    if (scan.set_aside.length) {
        sections.push(make("section", { "class": "os-card" }, make("h2", {}, tn("{n} file was left out", "{n} files were left out", scan.set_aside.length)),
            make("ul", { "class": "os-lines" }, scan.set_aside.map(sentence => make("li", {}, sentence)))));
    }
    if (scan.history) {
        sections.push(make("section", { "class": "os-card" }, make("h2", {}, t("History")), make("ol", { "class": "os-history" }, scan.history.map(each =>
            make("li", {}, make("b", {}, (STAGES[each.what] || (() => each.what))()), make("time", { datetime: each.at }, moment(each.at)),
            each.why && !PLAIN.has(each.event) ? make("span", {}, each.why) : "", each.actor ? make("span", { "class": "os-quiet" }, t("by {name}", { name: each.actor })) : "")))));
    }
    if (scan.has_output) sections.push(outputSection());
    if (scan.may_change) sections.push(ownerSection(scan));
    return sections;
}

function outputSection() {
    const text = make("pre", { tabindex: 0, "aria-label": t("Output of the processing node") });
    const details = make("details", {}, make("summary", {}, t("Output of the processing node")), text);
    details.addEventListener("toggle", async () => {
        if (!details.open) return;
        try {
            const output = await get(`${api}/output`);
            text.textContent = output.text || t("Nothing yet.");
            text.scrollTop = text.scrollHeight;
        } catch (problem) {
            text.textContent = problem.message;
        }
    });
    return make("section", { "class": "os-card os-output" }, details);
}

function ownerSection(scan) {
    const rows = [];
    if (scan.may_run_again) {
        const select = scan.presets.names ? make("select", { id: "os-preset" }, make("option", { value: "" }, t("As before")),
            scan.presets.names.map(name => make("option", { value: name }, name === scan.presets.usual ? t("{name} (default)", { name }) : name))) : null;
        rows.push(make("div", { "class": "os-row" }, select ? make("label", { "class": "os-field os-grow", "for": "os-preset" }, t("Preset for a new run"), select) : make("span", { "class": "os-grow" }),
            button(t("Process again"), () => act("retry", { preset: select ? select.value : "" }, t("The scan will be processed again, free of charge.")), { "class": "os-button os-second" })),
        make("p", { "class": "os-quiet" }, t("A new run replaces the model and costs no credit.")));
    }
    const sure = scan.ended ? t("Delete this scan? Its link stops working at once. A finished model stays in WebODM.") : t("Stop and delete this scan? What was sent will be deleted.");
    rows.push(make("p", { "class": "os-actions" }, button(t("Delete this scan"), async () => {
        if (window.confirm(sure)) await remove(scan.token.kind === "public" && base === "/openscan/" ? `${base}upload/` : `${base}scans/`);
    }, { "class": "os-button os-second os-danger" })));
    return make("section", { "class": "os-card" }, make("h2", {}, t("Change")), rows);
}

// The scan is gone afterwards, so this leads to another page.
async function remove(next) {
    try {
        await post(`${api}/reset`);
        location.assign(next);
    } catch (problem) {
        fill(byId("os-notice"), note(problem.message, "error"));
    }
}

async function act(what, body = {}, told = "") {
    try {
        await post(`${api}/${what}`, body);
    } catch (problem) {
        fill(byId("os-notice"), note(problem.message, "error"));
        return false;
    }
    if (told) fill(byId("os-notice"), note(told, "good"));
    last = null;
    await refresh();
    return true;
}

function shareForm() {
    const days = make("input", { type: "number", min: 1, max: 365, value: 7, id: "os-days", inputmode: "numeric" });
    const link = make("div", { role: "status", "aria-live": "polite" });
    const made = async event => {
        event.preventDefault();
        try {
            const shared = await post(`${api}/share`, { days: Number(days.value) });
            const field = make("input", { type: "text", readonly: true, value: shared.url, "aria-label": t("Link to share") });
            fill(link, note(t("Anyone with this link can view and download the model until {time}.", { time: moment(shared.until) }), "good"), make("div", { "class": "os-row" }, make("span", { "class": "os-field os-grow" }, field),
                button(t("Copy"), async () => { field.select(); await navigator.clipboard.writeText(field.value); }, { "class": "os-button os-second os-small" })));
        } catch (problem) {
            fill(link, note(problem.message, "error"));
        }
    };
    fill(byId("os-notice"), make("form", { "class": "os-card", onsubmit: made }, make("h2", {}, t("Share")), make("div", { "class": "os-row" },
        make("label", { "class": "os-field", "for": "os-days" }, t("For how many days"), days), make("button", { "class": "os-button", type: "submit" }, t("Make a link"))), link));
    days.focus();
}

// The viewer has one megabyte, so it is loaded only when there is a model.
async function showModel(scan) {
    const place = byId("os-model"), wanted = scan.model ? scan.model.version : "";
    if (viewer === wanted) return;
    viewer = wanted;
    show(place, Boolean(scan.model));
    if (!scan.model) {
        fill(place);
        return;
    }
    await import(`${root.dataset.static}vendor/model-viewer/model-viewer.min.js`);
    const model = make("model-viewer", { src: `${byId("os-main").dataset.api}${api}/model.glb`, "camera-controls": true, "touch-action": "pan-y",
        "interaction-prompt": "none", alt: t("The 3D model {name}. Drag to rotate it, scroll to zoom.", { name: scan.name }) });
    model.addEventListener("load", () => { place.dataset.loaded = "yes"; });
    model.addEventListener("error", () => fill(place, note(t("The model cannot be shown in this browser. Download it instead."), "error")));
    fill(place, model, make("p", { "class": "os-quiet" }, [scan.model.triangles ? t("{n} triangles", { n: count(scan.model.triangles) }) : "", t("{size} as GLB", { size: bytes(scan.model.bytes) })].filter(Boolean).join(" · "), " · ",
        make("a", { href: `${byId("os-main").dataset.api}${api}/model.glb`, download: "model.glb" }, t("Download only the GLB"))));
}

async function refresh() {
    const scan = await get(api);
    failures = 0;
    const now = JSON.stringify(scan);
    if (now === last) return scan;
    const before = last ? JSON.parse(last) : {};
    last = now;
    fill(byId("os-state"), stateSection(scan));
    const more = each => JSON.stringify([each.set_aside, each.history, each.has_output, each.may_run_again, each.presets, each.ended]);
    if (!before.key || more(before) !== more(scan)) fill(byId("os-more"), moreSections(scan));
    document.title = `${(TITLES[scan.status] || (() => scan.status))()} · ${scan.name}`;
    await showModel(scan);
    return scan;
}

async function loop() {
    let wait = FAST_MS;
    try {
        const scan = await refresh();
        if (scan.ended) wait = SLOW_MS;
        if (byId("os-lost")) byId("os-lost").remove();
    } catch (problem) {
        wait = Math.min(LONGEST_MS, FAST_MS * 2 ** failures++);
        if (!byId("os-lost")) byId("os-notice").before(make("div", { id: "os-lost", role: "alert" }));
        fill(byId("os-lost"), note(problem.message, "error"));
        if (problem.status === 404 || problem.status === 410) return;
    }
    setTimeout(loop, document.hidden ? Math.max(wait, 15_000) : wait);
}
loop();
