// Sorts dropped or chosen files into those that can be sent and those that are left out, before anything is sent.
import { t } from "../i18n.js";
import { bytes } from "../words.js";
import { tidy } from "./tidy.js";
import { photosInZip } from "./zip.js";

const CLUTTER = new Set(["thumbs.db", "desktop.ini"]);
// The kinds that the server accepts (app_extensions/shared/photo_files.py), by the first bytes of their files; "?" is any character.
const KINDS = [
    ["jpeg", "\xFF\xD8\xFF"], ["png", "\x89PNG\r\n\x1A\n"],
    ["tiff", "II*\0"], ["tiff", "MM\0*"], ["tiff", "II+\0"], ["tiff", "MM\0+"],
    ["webp", "RIFF????WEBP"], ["bmp", "BM????\0\0\0\0"],
    ...["heic", "heix", "heim", "heis", "mif1", "mif2"].map(brand => ["heic", `????ftyp${brand}`]),
    ["zip", "PK\x03\x04"],
];
// Files that begin like one of these kinds but are not: Canon's raw photos (TIFF), AVIF (HEIC).
const NOT_TAKEN = [["tiff", /^.{8}CR/s], ["heic", /avi[fs]/]];
const HEAD_BYTES = 64;
//: Reading the heads of this many files at once keeps a disk busy and a page responsive.
const AT_ONCE = 16, TIDY_EVERY = 16 * AT_ONCE;

function isClutter(path) {
    const pieces = path.split("/"), name = pieces[pieces.length - 1].toLowerCase();
    return pieces.slice(0, -1).includes("__MACOSX") || name.startsWith(".") || CLUTTER.has(name);
}

// The files of a drop, including those in folders. Get the entries before the first await: the browser forgets them then.
export async function fromDrop(transfer) {
    const entries = Array.from(transfer.items || []).map(item => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
    if (!entries.length) return Array.from(transfer.files, file => ({ path: file.name, file }));
    const found = [];
    for (const entry of entries) await walk(entry, "", found);
    return found;
}

async function walk(entry, folder, found) {
    if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        found.push({ path: folder + entry.name, file });
    } else if (entry.isDirectory) {
        const reader = entry.createReader();
        // A reader returns a hundred entries at a time, and an empty list at the end.
        for (;;) {
            const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
            if (!some.length) break;
            for (const each of some) await walk(each, folder + entry.name + "/", found);
        }
    }
}

export function fromInput(input) {
    return Array.from(input.files, file => ({ path: file.webkitRelativePath || file.name, file }));
}

function begins(head, magic) {
    for (let index = 0; index < magic.length; index++) if (magic[index] !== "?" && magic[index] !== head[index]) return false;
    return true;
}

async function kindOf(file) {
    const head = String.fromCharCode(...new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
    const found = KINDS.find(([, magic]) => begins(head, magic));
    return found && !NOT_TAKEN.some(([kind, mark]) => kind === found[0] && mark.test(head)) ? found[0] : "";
}

// Which of the given files can be sent: `photos` as {path, file}, or `archive` as {path, file, photos}; `leftOut` as {path, why}.
// Paths are relative to the folder that all files have in common; `folder` is its name. `progress` is called with the number of files done.
export async function sortOut(given, progress = () => {}) {
    const leftOut = [], photos = [], zips = [], seen = new Set();
    const wanted = given.filter(each => !isClutter(each.path)).sort((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
    const folder = commonFolder(wanted);
    let done = 0;
    for (let start = 0; start < wanted.length; start += AT_ONCE) {
        const some = wanted.slice(start, start + AT_ONCE);
        const kinds = await Promise.all(some.map(each => kindOf(each.file).catch(() => null)));
        some.forEach((each, index) => {
            const path = each.path.slice(folder.length), kind = kinds[index];
            if (seen.has(path)) leftOut.push({ path, why: t("was chosen twice") });
            else if (kind === null) leftOut.push({ path, why: t("cannot be read from this computer") });
            else if (!each.file.size) leftOut.push({ path, why: t("is empty") });
            else if (kind === "zip") zips.push({ path, file: each.file });
            else if (!kind) leftOut.push({ path, why: t("is not a photo in a format that the server accepts") });
            else photos.push({ path, file: each.file, kind });
            seen.add(path);
        });
        progress(done += some.length, wanted.length);
        if (done % TIDY_EVERY === 0) tidy();
    }
    let archive = null;
    if (zips.length === 1 && !photos.length) {
        const [zip] = zips;
        try {
            archive = { ...zip, ...await photosInZip(zip.file) };
            if (!archive.photos) { leftOut.push({ path: zip.path, why: t("is a zip without photos") }); archive = null; }
        } catch (error) {
            leftOut.push({ path: zip.path, why: t("is not a complete zip; pack it again") });
        }
    } else {
        for (const zip of zips) leftOut.push({ path: zip.path, why: t("is a zip; choose either one zip or photos") });
    }
    return { photos, archive, leftOut, folder: folder.replace(/\/$/, "").split("/").pop() };
}

function commonFolder(files) {
    if (!files.length) return "";
    const first = files[0].path, last = files[files.length - 1].path;
    let length = 0;
    while (length < first.length && first[length] === last[length]) length++;
    return first.slice(0, first.lastIndexOf("/", length - 1) + 1);
}

// Sentences that say why a set cannot be sent under a token; an empty list if it can.
export function objections(set, token, leastPhotos) {
    const size = set.archive ? set.archive.file.size : set.photos.reduce((sum, each) => sum + each.file.size, 0);
    const number = set.archive ? set.archive.photos : set.photos.length;
    const found = [];
    if (number < leastPhotos) found.push(t("A model needs at least {least} photos, but there are only {n}. Choose more photos.", { least: leastPhotos, n: number }));
    if (number > token.limit_photos) found.push(t("There are too many photos: {n}, but this token allows {limit}. Leave {more} out.",
        { n: number.toLocaleString("en"), limit: token.limit_photos.toLocaleString("en"), more: (number - token.limit_photos).toLocaleString("en") }));
    if (size > token.limit_filesize) found.push(t("The set is too large: {size}, but this token allows {limit}. Leave {more} out, or make the photos smaller.",
        { size: bytes(size), limit: bytes(token.limit_filesize), more: bytes(size - token.limit_filesize) }));
    const large = set.archive ? [] : set.photos.filter(each => each.file.size > token.limit_part);
    if (large.length) found.push(t("{name} is too large: {size}, but {limit} per photo are allowed. Leave it out.",
        { name: large[0].path, size: bytes(large[0].file.size), limit: bytes(token.limit_part) }));
    if (size > token.credit) found.push((token.daily
        ? t("Not enough credit: the set needs {size}, but only {credit} are left today. The credit is topped up at 00:00 UTC.", { size: bytes(size), credit: bytes(token.credit) })
        : t("Not enough credit: the set needs {size}, but only {credit} are left. Ask for more, or send a smaller set.", { size: bytes(size), credit: bytes(token.credit) })));
    return found;
}
