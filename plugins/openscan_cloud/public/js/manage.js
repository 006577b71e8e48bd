// The administrators' page: answer requests, steer the queue, and see what fails, why, and how much is processed.
import { base, get, post } from "./api.js";
import { button, byId, fill, make, note, refill } from "./dom.js";
import { t, tn } from "./i18n.js";
import { bytes, count, duration, moment } from "./words.js";

const REFRESH_MS = 15_000;
let last = "", plots = [];

async function act(path, body, told) {
    try {
        await post(`manage/${path}`, body);
        if (told) fill(byId("os-notice"), note(told, "good"));
    } catch (problem) {
        fill(byId("os-notice"), note(problem.message, "error"));
    }
    await load();
}

function card(title, ...children) {
    return make("section", { "class": "os-card" }, make("h2", {}, title), children);
}

const list = (rows, none) => rows.length ? make("ul", { "class": "os-list" }, rows) : make("p", { "class": "os-quiet" }, none);
const row = (text, ...buttons) => make("li", {}, make("span", { "class": "os-grow" }, text), make("span", { "class": "os-buttons" }, buttons));
const scanLink = scan => make("a", { href: `${base}scans/${scan.key}/` }, scan.name);
const small = text => make("span", { "class": "os-quiet os-block" }, text);

function steps(found) {
    const open = found.filter(each => !each.done);
    if (!open.length) return "";
    return card(t("First steps"), make("ul", { "class": "os-list os-checks" }, found.map(each => make("li", {}, make("span", { "class": "os-grow" },
        make("b", {}, `${each.done ? "✓" : "○"} ${each.what}`), make("span", { "class": "sr-only" }, each.done ? t(" (done)") : t(" (to do)")), each.how ? small(each.how) : "")))));
}

function requests(found) {
    return card(t("Requests"), list([
        ...found.requests.map(each => row([make("b", {}, each.name), ` ${each.mail}`, small(t("asked for a token on {time}{times}", { time: moment(each.at), times: each.times > 1 ? t(", {n} times so far", { n: each.times }) : "" }))],
            button(t("Approve"), () => act(`requests/${each.id}/approve`, {}, t("The token for {name} was created and emailed.", { name: each.name })), { "class": "os-button os-small", "aria-label": t("Approve {name}", { name: each.name }) }),
            button(t("Refuse"), () => act(`requests/${each.id}/refuse`, {}), { "aria-label": t("Refuse {name}", { name: each.name }) }))),
        ...found.credit_requests.map(each => row([make("b", {}, each.person), " ", t("asks for {wanted} more credit and has {left} left", { wanted: bytes(each.wanted), left: bytes(each.left) }), each.reason ? small(each.reason) : ""],
            button(t("Grant {size}", { size: bytes(each.wanted) }), () => act(`credit/${each.id}`, { bytes: each.wanted }, t("{name} has more credit.", { name: each.person })), { "class": "os-button os-small" }),
            button(t("Refuse"), () => act(`credit/${each.id}`, {}), { "aria-label": t("Refuse credit for {name}", { name: each.person }) }))),
    ], t("No requests are waiting for a decision.")),
    found.unused.length ? make("details", { "data-key": "unused" }, make("summary", {}, tn("{n} approved token was never used", "{n} approved tokens were never used", found.unused.length)),
        make("p", { "class": "os-quiet" }, t("If the email was lost, send a new token. The old one stops working.")), list(found.unused.map(each => row([make("b", {}, each.name), ` ${each.mail}`, small(t("approved {time}", { time: moment(each.at) }))],
            button(t("Email a new token"), () => act(`tokens/${each.id}/mail`, {}, t("A new token is on its way to {mail}.", { mail: each.mail })))))) ) : "");
}

function queue(found) {
    return card(t("Queue"), make("p", { "class": "os-quiet" }, t("{waiting} waiting, {running} being processed", { waiting: count(found.count), running: count(found.running) })),
        list(found.waiting.map(each => row([make("b", {}, each.place ? `${each.place}. ` : "", scanLink(each)), each.on_hold ? make("span", { "class": "os-tag os-open" }, t("on hold")) : "", small(`${each.token} · ${tn("{n} photo", "{n} photos", each.photos)} · ${moment(each.at)}`)],
            each.on_hold ? button(t("Release"), () => act(`queue/${each.key}/release`, {}), { "aria-label": t("Release {name}", { name: each.name }) }) : button(t("Hold"), () => act(`queue/${each.key}/hold`, {}), { "aria-label": t("Hold {name}", { name: each.name }) }),
            each.place === 1 ? "" : button(t("To the front"), () => act(`queue/${each.key}/front`, {}), { "aria-label": t("Move {name} to the front", { name: each.name }) }))), t("The queue is empty.")));
}

function failures(found) {
    return card(t("Failures in the last 30 days"), list(found.map(group => make("li", {}, make("details", { "class": "os-grow", "data-key": group.cause },
        make("summary", {}, make("b", {}, `${count(group.count)} × `), group.cause),
        make("ul", { "class": "os-lines" }, group.scans.map(scan => make("li", {}, scanLink(scan), small(scan.error))))))), t("No scan failed.")));
}

function figuresOf(disk, mails) {
    const fact = (name, value, more = "") => make("div", {}, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, more) : ""));
    return make("dl", { "class": "os-numbers" },
        fact(t("Disk free"), bytes(disk.free), t("{size} must stay free", { size: bytes(disk.reserve) })), fact(t("Uploads"), bytes(disk.parts), t("{size} more expected", { size: bytes(disk.promised) })),
        fact(t("Results"), bytes(disk.results)), fact(t("Emails not sent"), count(mails.given_up), mails.waiting ? t("{n} being retried", { n: count(mails.waiting) }) : mails.last.length ? mails.last[0].error : ""));
}

async function load() {
    try {
        const found = await get("manage");
        const now = JSON.stringify(found);
        if (now !== last) {
            refill(byId("os-manage"), steps(found.steps), figuresOf(found.disk, found.mails), requests(found), queue(found.queue), failures(found.failures));
            last = now;
        }
    } catch (problem) {
        fill(byId("os-notice"), note(problem.message, "error"));
    }
}

function place(title) {
    const figure = make("figure", { role: "img", "aria-label": title });
    byId("os-plots").append(make("div", {}, make("h3", {}, title), figure));
    return figure;
}

// Distances between the lines of a plot, as whole scans or photos, and as seconds.
const STEPS = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap(power => [power, 2 * power, 5 * power]);
const TIME_STEPS = [1, 2, 5, 10, 20, 30, ...[60, 3600].flatMap(unit => [1, 2, 5, 10, 20, 30].map(each => each * unit)), ...[2, 5, 10, 100].map(days => days * 86400)];

function plot(figure, data, color, format, bars) {
    const axis = { stroke: getComputedStyle(byId("os-plots")).color, grid: { stroke: "rgba(128, 140, 150, .25)" }, ticks: { stroke: "rgba(128, 140, 150, .25)" } };
    plots.push(new uPlot({ width: Math.max(240, figure.clientWidth), height: 200, legend: { show: false }, cursor: { show: false },
        series: [{}, { stroke: color, fill: color + "33", width: 2, spanGaps: true, points: { show: !bars, size: 5 }, paths: bars ? uPlot.paths.bars({ size: [0.7, 60] }) : undefined }],
        scales: { y: { range: (chart, low, high) => [0, Math.max(1, high * 1.1)] } }, axes: [axis, { ...axis, size: 64, incrs: bars ? STEPS : TIME_STEPS, values: (chart, values) => values.map(format) }] }, data, figure));
}

async function draw(by) {
    for (const [id, name] of [["os-by-hour", "hour"], ["os-by-day", "day"]]) byId(id).setAttribute("aria-pressed", String(name === by));
    try {
        const found = await get(`manage/figures?by=${by}`), sum = numbers => count(numbers.reduce((all, each) => all + each, 0));
        plots.forEach(each => each.destroy());
        plots = [];
        fill(byId("os-plots"));
        const figures = [t("Models made: {n}", { n: sum(found.scans) }), t("Photos processed: {n}", { n: sum(found.photos) }), t("Median wait before processing")].map(place);
        plot(figures[0], [found.at, found.scans], "#2f8fb8", count, true);
        plot(figures[1], [found.at, found.photos], "#2f8fb8", count, true);
        plot(figures[2], [found.at, found.waits], "#c7851b", value => value ? duration(value) : "0", false);
    } catch (problem) {
        fill(byId("os-plots"), note(problem.message, "error"));
    }
}

byId("os-by-hour").addEventListener("click", () => draw("hour"));
byId("os-by-day").addEventListener("click", () => draw("day"));
let resizing = null;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => plots.forEach(each => each.setSize({ width: Math.max(240, each.root.parentElement.clientWidth), height: 200 })), 200); });
load();
draw("hour");
setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
