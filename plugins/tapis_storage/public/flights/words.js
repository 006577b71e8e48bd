// Numbers and states in words.
import { t, tn } from "./i18n.js";

export function bytes(count) {
    const units = [t("bytes"), "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; count >= 1000 && unit < units.length - 1; unit += 1) count /= 1000;
    return count.toFixed(unit ? 1 : 0) + " " + units[unit];
}

export function ofImages(count) {
    return tn("{n} image", "{n} images", count);
}

export function ofFlights(count) {
    return tn("{n} flight", "{n} flights", count);
}

// A time of the API as a day in the reader's own form.
export function day(text) {
    return new Date(text).toLocaleDateString(undefined, { dateStyle: "medium" });
}

// One or two days as a camera wrote them, such as 2024-05-01: they have no zone, and must not become others where the reader lives.
export function calendarDays(first, last) {
    const [from, until] = [first, last].map(text => {
        const [year, month, date] = text.split("-").map(Number);
        return new Date(year, month - 1, date);
    });
    return new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).formatRange(from, until);
}

// A moment as a camera wrote it, such as 2024-05-01T10:20:30.
export function moment(text) {
    return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// A time of the API: the hour, and the day where that is not today.
export function hour(text) {
    const time = new Date(text), today = time.toDateString() === new Date().toDateString();
    return time.toLocaleString(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

function duration(seconds) {
    if (seconds < 90) return tn("{n} second", "{n} seconds", Math.max(1, Math.round(seconds)));
    if (seconds < 5400) return tn("{n} minute", "{n} minutes", Math.round(seconds / 60));
    return tn("{n} hour", "{n} hours", Math.round(seconds / 3600));
}

// A sync that is under way.
export function syncUnderWay(job) {
    if (job.state === "queued") return t("Waiting for a worker to begin.");
    if (!job.images_total) return t("Reading the list of images at Tapis.");
    const parts = [t("{done} of {all}", { done: job.images_done, all: ofImages(job.images_total) }),
        t("{done} of {all}", { done: bytes(job.bytes_done), all: bytes(job.bytes_total) })];
    if (job.rate > 0) {
        parts.push(bytes(job.rate) + "/s");
        if (job.bytes_total > job.bytes_done) parts.push(t("about {time} left", { time: duration((job.bytes_total - job.bytes_done) / job.rate) }));
    }
    return t("Fetching images: {progress}.", { progress: parts.join(", ") });
}

// A sync that is over. What is broken or was deleted at its source is left out, and the job's error tells which.
export function syncComplete(job) {
    const whole = job.images_done >= job.images_total;
    const images = ofImages(job.images_total), size = bytes(job.bytes_done);
    return whole ? t("All {images} are here ({size}).", { images, size })
        : t("{done} of {images} are here ({size}).", { done: job.images_done, images, size });
}

// A discovery that is under way.
export function discoveryUnderWay(job) {
    if (job.state === "queued") return t("A discovery waits for a worker to begin.");
    const { directories_read: read, directories_known: known } = job.progress;
    if (!known) return t("Looking through your systems on Tapis.");
    return t("Looking through your systems on Tapis: {read} of {directories} read, {images} found so far.", {
        read, directories: tn("{n} directory", "{n} directories", known), images: ofImages(job.images_total),
    });
}

// How WebODM is getting on with a flight's images.
export function processing(task) {
    if (task.pending_action === "cancel") return t("Processing is being stopped.");
    if (task.pending_action === "remove") return t("The task is being removed.");
    switch (task.state) {
    case "queued": return t("Waiting for a processing node.") + (task.hint ? " " + task.hint : "");
    case "running": return t("Processing: {percent} %.", { percent: Math.round(task.progress * 100) });
    case "completed": return t("Processed.");
    case "failed": return task.error ? t("Processing failed: {reason}", { reason: task.error }) : t("Processing failed.");
    case "canceled": return t("Processing was stopped.");
    default: return t("Not processed yet.");
    }
}
