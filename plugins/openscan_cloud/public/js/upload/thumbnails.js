// A grid of thumbnails of which only the rows in sight exist, so that 1,800 photos cost no more than thirty.
import { make } from "../dom.js";

const CELL = 112, THUMB = 96, CACHE = 240, HEAD_BYTES = 131_072;

export class Grid {
    // `box` scrolls; its first child is as tall as all rows would be.
    constructor(box) {
        this.box = box;
        this.space = box.firstElementChild;
        this.files = [];
        this.cells = new Map();
        this.pictures = new Map();
        this.waiting = [];
        this.busy = false;
        box.addEventListener("scroll", () => this.draw(), { passive: true });
        new ResizeObserver(() => this.draw()).observe(box);
    }

    // `files` are {path, file, kind}.
    set(files) {
        this.files = files;
        this.cells.forEach(cell => cell.remove());
        this.cells.clear();
        this.pictures.forEach(picture => URL.revokeObjectURL(picture));
        this.pictures.clear();
        this.box.scrollTop = 0;
        this.draw();
    }

    draw() {
        const columns = Math.max(1, Math.floor(this.space.clientWidth / CELL)), rows = Math.ceil(this.files.length / columns);
        this.space.style.height = `${rows * CELL}px`;
        const first = Math.max(0, Math.floor(this.box.scrollTop / CELL) - 1);
        const last = Math.min(rows, Math.ceil((this.box.scrollTop + this.box.clientHeight) / CELL) + 1);
        const wanted = new Set();
        for (let index = first * columns; index < Math.min(this.files.length, last * columns); index++) {
            wanted.add(index);
            const cell = this.cells.get(index) || this.add(index);
            cell.style.transform = `translate(${index % columns * CELL}px, ${Math.floor(index / columns) * CELL}px)`;
        }
        for (const [index, cell] of this.cells) {
            if (!wanted.has(index)) {
                cell.remove();
                this.cells.delete(index);
            }
        }
        this.waiting = Array.from(wanted).filter(index => !this.pictures.has(this.files[index]));
        this.work();
    }

    add(index) {
        const { path } = this.files[index], picture = this.pictures.get(this.files[index]);
        const cell = make("figure", { "class": "os-thumb", title: path },
            make("img", { alt: "", width: THUMB, height: THUMB, src: picture }), make("figcaption", {}, path.slice(path.lastIndexOf("/") + 1)));
        this.cells.set(index, cell);
        this.space.append(cell);
        return cell;
    }

    // One picture at a time: a photo of 20 megapixels takes 80 MB while it is decoded.
    async work() {
        if (this.busy) return;
        this.busy = true;
        while (this.waiting.length) {
            const index = this.waiting.shift(), entry = this.files[index];
            if (!entry || this.pictures.has(entry)) continue;
            const picture = await thumbnail(entry.file, entry.kind);
            if (this.files[index] !== entry) continue;
            this.pictures.set(entry, picture);
            while (this.pictures.size > CACHE) {
                const [oldest, url] = this.pictures.entries().next().value;
                URL.revokeObjectURL(url);
                this.pictures.delete(oldest);
            }
            const cell = this.cells.get(index);
            if (cell && picture) cell.firstElementChild.src = picture;
        }
        this.busy = false;
    }
}

// An address of a small picture, or "" where the browser cannot make one (TIFF, HEIC).
async function thumbnail(file, kind) {
    try {
        if (kind === "jpeg") {
            const small = embedded(new DataView(await file.slice(0, HEAD_BYTES).arrayBuffer()));
            if (small) return URL.createObjectURL(small);
        }
        if (kind === "tiff" || kind === "heic") return "";
        const picture = await createImageBitmap(file, { resizeWidth: THUMB * 2, resizeQuality: "low" });
        const canvas = new OffscreenCanvas(picture.width, picture.height);
        canvas.getContext("2d").drawImage(picture, 0, 0);
        picture.close();
        return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.7 }));
    } catch (error) {
        return "";  // a photo that the browser cannot decode may still be one for the server; its name is shown
    }
}

// The thumbnail that a camera put into a JPEG (Exif 2.32, 4.6: tags 0x0201 and 0x0202 of IFD1), or null.
function embedded(data) {
    let at = 2;
    while (at + 10 < data.byteLength && data.getUint8(at) === 0xFF) {
        const marker = data.getUint8(at + 1), length = data.getUint16(at + 2);
        if (marker === 0xE1 && data.getUint32(at + 4) === 0x45786966) return fromExif(data, at + 10, Math.min(data.byteLength, at + 2 + length));
        if (marker === 0xDA) return null;
        at += 2 + length;
    }
    return null;
}

function fromExif(data, tiff, end) {
    try {
        const little = data.getUint16(tiff) === 0x4949;
        const first = tiff + data.getUint32(tiff + 4, little);
        const next = data.getUint32(first + 2 + 12 * data.getUint16(first, little), little);
        if (!next) return null;
        let start = 0, size = 0;
        for (let index = 0, ifd = tiff + next; index < data.getUint16(ifd, little); index++) {
            const tag = data.getUint16(ifd + 2 + 12 * index, little), value = data.getUint32(ifd + 10 + 12 * index, little);
            if (tag === 0x0201) start = tiff + value;
            if (tag === 0x0202) size = value;
        }
        return start && size && start + size <= end ? new Blob([new Uint8Array(data.buffer, start, size)], { type: "image/jpeg" }) : null;
    } catch (error) {
        return null;  // EXIF that leads nowhere
    }
}
