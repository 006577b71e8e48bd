// Formats numbers for people. Sizes are decimal, as disks and the rigs count them.
import { t } from "./i18n.js";

export function bytes(size) {
    if (Math.abs(size) < 1000) return t("{n} bytes", { n: size });
    let value = size, unit = "";
    for (unit of ["kB", "MB", "GB", "TB"]) {
        value /= 1000;
        if (Math.abs(value) < 999.95) break;
    }
    return `${value.toFixed(1).replace(/\.0$/, "")} ${unit}`;
}

export function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole % 3600 / 60);
    if (hours >= 48) return t("{d} days", { d: Math.round(hours / 24) });
    if (hours) return minutes ? t("{h} h {m} min", { h: hours, m: minutes }) : t("{h} h", { h: hours });
    if (minutes) return minutes < 5 && whole % 60 ? t("{m} min {s} s", { m: minutes, s: whole % 60 }) : t("{m} min", { m: minutes });
    return t("{s} s", { s: whole });
}

export function ago(iso) {
    const seconds = (Date.now() - new Date(iso).getTime()) / 1000;
    return seconds < 5 ? t("just now") : t("{time} ago", { time: duration(seconds) });
}

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function moment(iso) {
    return iso ? FORMAT.format(new Date(iso)) : "";
}

export function count(number) {
    return number.toLocaleString("en");
}
