// The flights page: what it shows and does goes through the REST API. Each section says for itself what went wrong in it.
import { Account } from "./account.js";
import { byId } from "./dom.js";
import { Found } from "./found.js";
import { t } from "./i18n.js";
import { Notice } from "./notice.js";
import { Preferences } from "./preferences.js";
import { Projects } from "./projects.js";
import { Systems } from "./systems.js";
import { Watch } from "./watch.js";

const LOOK_SECONDS = 5;

const connected = byId("tapis-flights").dataset.connected === "yes";
const connection = new Notice(byId("tapis-connection"));
const preferences = new Preferences();
const projects = new Projects(() => found && found.show(), () => watch.now());
const found = connected ? new Found(projects, () => watch.now()) : null;
let stale = true, loadedAt = 0;

// The list of projects is asked for anew when a job has ended or begun, and now and then while WebODM processes.
async function look(jobs) {
    stale = projects.follow(jobs) || stale;
    stale = (found !== null && await found.follow(jobs)) || stale;
    if (stale || (projects.processing && Date.now() - loadedAt > LOOK_SECONDS * 1000)) {
        await projects.load();
        projects.follow(jobs);
        stale = false;
        loadedAt = Date.now();
    }
    return projects.processing;
}

function trouble(problem, seconds) {
    if (!problem) connection.clear();
    else if (problem.login) connection.problem(problem);
    else connection.say(t("{problem} What this page shows may be out of date; it asks again in {seconds} seconds.",
        { problem: problem.message, seconds: Math.round(seconds) }), "warning");
}

const watch = new Watch(look, trouble);
preferences.load();
watch.now();
if (connected) {
    new Systems().load();
    new Account(() => location.reload()).watch();
}
