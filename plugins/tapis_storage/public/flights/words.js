// Numbers and states in words.

export function bytes(count) {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; count >= 1000 && unit < units.length - 1; unit += 1) count /= 1000;
    return count.toFixed(unit ? 1 : 0) + " " + units[unit];
}

export function several(count, one, more = one + "s") {
    return `${count} ${count === 1 ? one : more}`;
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
    if (seconds < 90) return several(Math.max(1, Math.round(seconds)), "second");
    if (seconds < 5400) return several(Math.round(seconds / 60), "minute");
    return several(Math.round(seconds / 3600), "hour");
}

// A sync that is under way.
export function syncUnderWay(job) {
    if (job.state === "queued") return "Waiting for a worker to begin.";
    if (!job.images_total) return "Reading the list of images at Tapis.";
    const parts = [`${job.images_done} of ${several(job.images_total, "image")}`, `${bytes(job.bytes_done)} of ${bytes(job.bytes_total)}`];
    if (job.rate > 0) {
        parts.push(bytes(job.rate) + "/s");
        if (job.bytes_total > job.bytes_done) parts.push("about " + duration((job.bytes_total - job.bytes_done) / job.rate) + " left");
    }
    return "Fetching images: " + parts.join(", ") + ".";
}

// A sync that is over. What is broken or was deleted at its source is left out, and the job's error tells which.
export function syncComplete(job) {
    const whole = job.images_done >= job.images_total;
    const count = whole ? `All ${several(job.images_total, "image")}` : `${job.images_done} of ${several(job.images_total, "image")}`;
    return `${count} are here (${bytes(job.bytes_done)}).`;
}

// A discovery that is under way.
export function discoveryUnderWay(job) {
    if (job.state === "queued") return "A discovery waits for a worker to begin.";
    const { directories_read: read, directories_known: known } = job.progress;
    if (!known) return "Looking through your systems on Tapis.";
    return `Looking through your systems on Tapis: ${read} of ${several(known, "directory", "directories")} read, ` +
        `${several(job.images_total, "image")} found so far.`;
}

// How WebODM is getting on with a flight's images.
export function processing(task) {
    if (task.pending_action === "cancel") return "Processing is being stopped.";
    if (task.pending_action === "remove") return "The task is being removed.";
    switch (task.state) {
    case "queued": return "Waiting for a processing node." + (task.hint ? " " + task.hint : "");
    case "running": return `Processing: ${Math.round(task.progress * 100)} %.`;
    case "completed": return "Processed.";
    case "failed": return "Processing failed" + (task.error ? ": " + task.error : ".");
    case "canceled": return "Processing was stopped.";
    default: return "Not processed yet.";
    }
}
