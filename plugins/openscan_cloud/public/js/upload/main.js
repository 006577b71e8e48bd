// The upload page: choose, check and send photos, and continue interrupted uploads.
import { Problem, base, get, post } from "../api.js";
import { bar, button, byId, fill, make, note, setBar, show } from "../dom.js";
import { t, tn } from "../i18n.js";
import { ago, bytes, count, duration } from "../words.js";
import { fromDrop, fromInput, objections, sortOut } from "./files.js";
import { Sender } from "./sender.js";
import { Grid } from "./thumbnails.js";

const MOST_LEFT_OUT = 200, MOST_FAILED = 50, REMEMBERED = "openscan-uploads", TELL_EVERY_MS = 200;
const grid = new Grid(byId("os-grid"));
let me = null, chosen = null, resuming = null, sender = null, telling = null;

function tokenNow() {
    return me && (me.tokens.find(each => String(each.id) === byId("os-token").value) || me.tokens[0]);
}

function say(element, problem) {
    fill(element, note(problem.message, "error", problem.signIn ? make("a", { href: base, target: "_blank" }, " " + t("Sign in")) : ""));
}

// --- choosing

async function choose(given) {
    if (!given.length || sender) return;
    const verdict = byId("os-verdict");
    show(byId("os-chosen"));
    fill(verdict, t("Looking at the files …"));
    chosen = await sortOut(given, (done, of) => fill(verdict, t("Looking at the files … {done} of {of}", { done: count(done), of: count(of) })));
    draw();
    if (resuming && !chosenMatches(resuming)) return;
    if (resuming) return begin();
    if (!byId("os-name").value) byId("os-name").value = suggestedName();
}

function suggestedName() {
    const named = chosen.folder || (chosen.archive && chosen.archive.path.replace(/\.zip$/i, ""));
    const now = new Date(), two = number => String(number).padStart(2, "0");
    return named || `${t("Scan")} ${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}.${two(now.getMinutes())}`;
}

// Show what was chosen, why it cannot be sent (if so), and what is left out.
function draw() {
    const set = chosen, archive = set.archive, token = tokenNow();
    const number = archive ? archive.photos : set.photos.length;
    const size = archive ? archive.file.size : set.photos.reduce((sum, each) => sum + each.file.size, 0);
    const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    fill(byId("os-facts"), fact(t("Photos"), count(number)), fact(t("Size"), bytes(size)),
        token ? fact(t("Credit left"), bytes(token.credit)) : "", archive ? fact(t("Zip"), archive.path) : "");
    const against = number && token ? objections(set, token, me.least_photos) : [];
    fill(byId("os-verdict"), number ? against.map(sentence => note(sentence, "error"))
        : note(t("There are no photos among these files. Choose JPEG, PNG, TIFF, WebP, HEIC or BMP photos, or a zip of them."), "error"));
    const out = byId("os-left-out");
    show(out, set.leftOut.length > 0);
    fill(out.querySelector("summary"), tn("{n} file is left out", "{n} files are left out", set.leftOut.length));
    fill(out.querySelector("ul"), set.leftOut.slice(0, MOST_LEFT_OUT).map(each => make("li", {}, make("b", {}, each.path), " ", each.why)),
        set.leftOut.length > MOST_LEFT_OUT ? make("li", {}, t("and {n} more", { n: count(set.leftOut.length - MOST_LEFT_OUT) })) : "");
    show(byId("os-grid"), set.photos.length > 0);
    grid.set(set.photos);
    show(byId("os-send"), number > 0 && !resuming);
    byId("os-go").disabled = against.length > 0 || !token;
    show(byId("os-public"), Boolean(token) && token.kind === "public");
}

function clear() {
    chosen = resuming = null;
    fill(byId("os-verdict"));
    fill(byId("os-notice"));
    show(byId("os-chosen"), false);
    show(byId("os-send"), false);
    byId("os-name").value = "";
    grid.set([]);
}

// --- sending

// The Blob of each part, in the order of the upload's links; null if the file was not chosen.
function blobs(upload) {
    if (upload.archive) {
        if (!chosen.archive) return upload.links.map(() => null);
        let start = 0;
        return upload.links.map(([, size]) => chosen.archive.file.slice(start, start += size));
    }
    const byPath = new Map(chosen.photos.map(each => [each.path, each.file]));
    const byName = new Map(chosen.photos.map(each => [each.path.split("/").pop() + "\n" + each.file.size, each.file]));
    return upload.links.map(([path, size]) => {
        const file = byPath.get(path);
        return file && file.size === size ? file : byName.get(path.split("/").pop() + "\n" + size) || null;
    });
}

function chosenMatches(upload) {
    const missing = upload.links.filter(([, , link], index) => link && !blobs(upload)[index]);
    const sameZip = !upload.archive || (chosen.archive && chosen.archive.file.size === upload.bytes);
    if (sameZip && missing.length === 0) return true;
    fill(byId("os-notice"), note(upload.archive
        ? t("This is not the zip that was being sent. Choose {name}.", { name: upload.archive })
        : t("The server still needs {n} photos that are not among these files, for example {name}. Choose the same folder again.",
            { n: count(missing.length), name: missing[0][0] }), "error"));
    return false;
}

async function begin() {
    const named = byId("os-name-wrong"), token = tokenNow();
    fill(named);
    fill(byId("os-notice"));
    let upload;
    try {
        if (resuming) upload = await post(`uploads/${resuming.key}`);
        else {
            const what = chosen.archive ? { archive: chosen.archive.path, size: chosen.archive.file.size, photos: chosen.archive.photos }
                : { files: chosen.photos.map(each => [each.path, each.file.size]) };
            upload = await post("uploads", { token: token.id, name: byId("os-name").value.trim(), ...what });
        }
    } catch (problem) {
        say(resuming ? byId("os-notice") : named, problem);
        return;
    }
    remember(upload.key);
    await send(upload);
}

async function send(upload) {
    show(byId("os-upload"), false);
    show(byId("os-unfinished"), false);
    show(byId("os-progress"));
    byId("os-progress").scrollIntoView({ block: "nearest" });
    grid.set([]);
    sender = new Sender(upload, blobs(upload), tellSoon);
    window.addEventListener("beforeunload", hold);
    try {
        await sender.run().finally(tellNow);
        await started(upload.key);
    } catch (problem) {
        window.removeEventListener("beforeunload", hold);
        if (problem.status !== 409) return say(byId("os-trouble"), problem);
        forget(upload.key);  // another tab or computer has sent the rest and started the scan
        location.assign(`${base}scans/${upload.key}/`);
    }
}

// Everything has arrived: start processing. The network may be down at this moment, and the session may have expired.
async function started(key) {
    for (let wait = 1; ; wait = Math.min(30, wait * 2)) {
        try {
            const { key: page } = await post(`uploads/${key}/start`);
            forget(key);
            window.removeEventListener("beforeunload", hold);
            location.assign(`${base}scans/${page}/`);
            return;
        } catch (problem) {
            if (problem.status && problem.status < 500 && !problem.signIn) throw problem;
            say(byId("os-trouble"), problem);
            await new Promise(resolve => setTimeout(resolve, wait * 1000));
        }
    }
}

function hold(event) {
    event.preventDefault();
    event.returnValue = "";
}

// Telling after each change of 1,800 photos would take as long as sending them.
function tellSoon() {
    telling = telling || setTimeout(tell, TELL_EVERY_MS);
}

// What is said after this stays: no telling that was put off takes it away.
function tellNow() {
    clearTimeout(telling);
    tell();
}

function tell() {
    telling = null;
    const { sent, total, speed, items, done, failed, paused, trouble } = sender;
    setBar(byId("os-bar"), total ? sent / total : 0);
    const time = speed > 0 && !paused && !trouble ? t("about {time} left", { time: duration((total - sent) / speed) }) : "";
    fill(byId("os-told"), [
        t("{done} of {all} files", { done: count(done), all: count(items.length) }),
        t("{sent} of {total}", { sent: bytes(sent), total: bytes(total) }),
        paused ? t("paused") : speed > 0 ? t("{speed} per second", { speed: bytes(speed) }) : "", time,
    ].filter(Boolean).join(" · "));
    document.title = `${total ? Math.floor(100 * sent / total) : 0} % · ${t("Upload")}`;
    byId("os-pause").textContent = paused ? t("Continue") : t("Pause");
    if (trouble) fill(byId("os-trouble"), note(trouble, "error"));
    else fill(byId("os-trouble"));
    fill(byId("os-failed"), failed.slice(0, MOST_FAILED).map(item => make("li", {}, make("span", {}, make("b", {}, item.path), " ", item.error),
        button(t("Try again"), async () => sender.retry([item]), { "aria-label": t("Send {name} again", { name: item.path }) }))),
        failed.length > 1 ? make("li", {}, t("{n} files could not be sent.", { n: count(failed.length) }), button(t("Try all again"), async () => sender.retry())) : "");
}

async function cancel() {
    if (!window.confirm(t("Delete what was sent and get the credit back?"))) return;
    const { key } = sender;
    sender.pause(true);
    tellNow();
    try {
        await post(`scans/${key}/reset`);
    } catch (problem) {
        say(byId("os-trouble"), problem);
        return;
    }
    forget(key);
    window.removeEventListener("beforeunload", hold);
    location.reload();
}

// --- continuing

// The server does not list uploads made with a public token, so the browser remembers its own.
function remembered() {
    try {
        return JSON.parse(localStorage.getItem(REMEMBERED)) || [];
    } catch (error) {
        return [];
    }
}

function remember(key) {
    localStorage.setItem(REMEMBERED, JSON.stringify([key, ...remembered().filter(each => each !== key)].slice(0, 20)));
}

function forget(key) {
    localStorage.setItem(REMEMBERED, JSON.stringify(remembered().filter(each => each !== key)));
}

async function listUnfinished() {
    const { uploads } = await get("uploads");
    const known = new Set(uploads.map(each => each.key));
    for (const key of remembered().filter(each => !known.has(each))) {
        try {
            const upload = await get(`uploads/${key}`);
            if (upload.state === "created") uploads.push(upload);
            else forget(key);
        } catch (problem) {
            if (problem.status === 404) forget(key);
        }
    }
    show(byId("os-unfinished"), uploads.length > 0);
    fill(byId("os-unfinished-list"), uploads.map(upload => make("li", {},
        make("div", { "class": "os-grow" }, make("b", {}, upload.name),
            make("span", { "class": "os-quiet" }, " " + t("{received} of {files} files arrived, started {time}", { received: count(upload.received), files: count(upload.files), time: ago(upload.created_at) })),
            bar(upload.received_bytes / upload.bytes, t("Arrived"))),
        button(t("Continue"), () => resume(upload), { "aria-label": t("Continue {name}", { name: upload.name }) }),
        button(t("Delete"), () => drop(upload), { "aria-label": t("Delete {name}", { name: upload.name }) }))));
}

async function resume(upload) {
    try {
        const now = await get(`uploads/${upload.key}`);
        if (now.links.every(([, , link]) => !link)) return started(upload.key);
        resuming = now;
    } catch (problem) {
        say(byId("os-notice"), problem);
        return;
    }
    fill(byId("os-notice"), note(upload.archive
        ? t("Choose the zip {name} again. Only what is missing will be sent.", { name: upload.archive })
        : t("Choose the same folder or photos of “{name}” again. Only what is missing will be sent.", { name: upload.name })));
    show(byId("os-send"), false);
    byId("os-choose").scrollIntoView({ block: "nearest" });
    byId(upload.archive ? "os-pick-files" : "os-pick-folder").focus();
    if (chosen && chosenMatches(resuming)) await begin();
}

async function drop(upload) {
    if (!window.confirm(t("Delete what was sent of “{name}” and get the credit back?", { name: upload.name }))) return;
    try {
        await post(`scans/${upload.key}/reset`);
        forget(upload.key);
        await load();
    } catch (problem) {
        say(byId("os-notice"), problem);
    }
}

// --- the page

async function load() {
    me = await get("me");
    const select = byId("os-token"), asked = new URLSearchParams(location.search);
    const ofProject = me.tokens.find(each => String(each.project) === asked.get("project"));
    const wanted = select.value || asked.get("token") || (ofProject ? String(ofProject.id) : "");
    fill(select, me.tokens.map(token => make("option", { value: token.id, selected: String(token.id) === wanted },
        `${token.name} · ${token.kind} · ${t("{credit} left", { credit: bytes(token.credit) })}`)));
    if (!me.tokens.length) fill(byId("os-notice"), note(t("You have no usable token."), "error", " ", make("a", { href: `${base}tokens/` }, t("Get one"))));
    limitsTold();
    await listUnfinished();
    if (chosen) draw();
}

function limitsTold() {
    const token = tokenNow();
    fill(byId("os-limits"), token ? t("JPEG, PNG, TIFF, WebP, HEIC or BMP. At most {photos} photos and {size} in one set; {credit} of credit left.",
        { photos: count(token.limit_photos), size: bytes(token.limit_filesize), credit: bytes(token.credit) }) : "");
}

const dropArea = byId("os-drop");
for (const kind of ["dragenter", "dragover"]) dropArea.addEventListener(kind, event => { event.preventDefault(); dropArea.classList.add("os-over"); });
dropArea.addEventListener("dragleave", () => dropArea.classList.remove("os-over"));
dropArea.addEventListener("drop", event => {
    event.preventDefault();
    dropArea.classList.remove("os-over");
    fromDrop(event.dataTransfer).then(choose).catch(() => say(byId("os-notice"), new Problem(t("The browser could not read what was dropped. Choose it with a button instead."))));
});
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, event => event.preventDefault());  // otherwise a photo dropped beside the area would open
byId("os-pick-folder").addEventListener("click", () => byId("os-folder").click());
byId("os-pick-files").addEventListener("click", () => byId("os-files").click());
for (const input of [byId("os-folder"), byId("os-files")]) {
    input.addEventListener("change", async () => {
        const given = fromInput(input);
        await choose(given);
        input.value = "";  // otherwise choosing the same folder again would not count as a change
    });
}
byId("os-token").addEventListener("change", () => { limitsTold(); if (chosen) draw(); });
byId("os-upload").addEventListener("submit", event => {
    event.preventDefault();
    const go = byId("os-go");
    if (go.disabled) return;
    go.disabled = true;
    begin().finally(() => { go.disabled = false; });
});
byId("os-clear").addEventListener("click", clear);
byId("os-pause").addEventListener("click", () => sender.pause(!sender.paused));
byId("os-cancel").addEventListener("click", cancel);
load().catch(problem => say(byId("os-notice"), problem instanceof Problem ? problem : new Problem(String(problem))));
