// A grid of thumbnails. Only the visible rows exist, so that 1,800 photos cost no more than thirty.
import { make } from "../dom.js";
import { tidy } from "./tidy.js";

const CELL = 112, HEIGHT = 84, CACHE = 240, HEAD_BYTES = 131_072, TIDY_EVERY = 8;
const SMALL = { resizeWidth: 2 * HEIGHT, resizeQuality: "low" };

export class Grid {
    // `box` scrolls; its first child is as tall as all rows together.
    constructor(box) {
        this.box = box;
        this.space = box.firstElementChild;
        this.files = [];
        this.cells = new Map();
        this.pictures = new Map();
        this.waiting = [];
        this.busy = false;
        this.made = 0;
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
        const width = this.space.clientWidth, columns = Math.max(1, Math.floor(width / CELL)), step = width / columns;
        const rows = Math.ceil(this.files.length / columns);
        this.space.style.height = `${rows * CELL}px`;
        const first = Math.max(0, Math.floor(this.box.scrollTop / CELL) - 1);
        const last = Math.min(rows, Math.ceil((this.box.scrollTop + this.box.clientHeight) / CELL) + 1);
        const wanted = new Set();
        for (let index = first * columns; index < Math.min(this.files.length, last * columns); index++) {
            wanted.add(index);
            const cell = this.cells.get(index) || this.add(index);
            cell.style.width = `${step - 8}px`;
            cell.style.transform = `translate(${index % columns * step}px, ${Math.floor(index / columns) * CELL}px)`;
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
            make("img", { alt: "", height: HEIGHT, src: picture }), make("figcaption", {}, path.slice(path.lastIndexOf("/") + 1)));
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
            if (++this.made % TIDY_EVERY === 0) tidy();
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

// The address of a small picture, or "" if the browser cannot make one (TIFF, HEIC).
async function thumbnail(file, kind) {
    try {
        const head = kind === "jpeg" ? await file.slice(0, HEAD_BYTES).arrayBuffer() : null, small = head && embedded(new DataView(head));
        if (head && head.transfer) head.transfer(0);  // frees it now, not at some time
        if (small) return await address(upright(await createImageBitmap(small.picture, { imageOrientation: "none" }), small));
        if (kind === "tiff" || kind === "heic") return "";
        const picture = kind === "jpeg" && decodesSmall() ? await decodedSmall(file) : await createImageBitmap(file, SMALL);
        return await address(upright(picture, { orientation: 1, ratio: 0 }));
    } catch (error) {
        return "";  // the server may still be able to decode this photo; the page shows its name
    }
}

// Whether the browser can decode JPEGs at a smaller size, and turns them as EXIF says. Under HTTP, for example, it cannot.
function decodesSmall() {
    return "ImageDecoder" in window && "rotation" in VideoFrame.prototype;
}

// A JPEG as createImageBitmap gives it, in a thirtieth of the memory: a photo of 8 megapixels takes 1 MB instead of 32 while it is decoded.
// The photo's bytes are given away, so that they are freed at once. Drawing the frame itself would keep a copy of it.
async function decodedSmall(file) {
    const data = await file.arrayBuffer();
    const decoder = new ImageDecoder({ type: "image/jpeg", data, transfer: [data], desiredWidth: SMALL.resizeWidth, desiredHeight: SMALL.resizeWidth });
    try {
        const { image } = await decoder.decode();
        try {
            return await createImageBitmap(image, SMALL);
        } finally {
            image.close();
        }
    } finally {
        decoder.close();
    }
}

async function address(canvas) {
    return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.7 }));
}

// A picture on a canvas, turned as EXIF says, without the black bars that cameras add to reach 4:3.
// `ratio` is the photo's width divided by its height, 0 if unknown.
function upright(picture, { orientation, ratio }) {
    let { width, height } = picture;
    // An upright thumbnail of a landscape photo was turned already. Its bars, if any, stay.
    if (ratio > 1 === width > height) {
        if (ratio > width / height) height = Math.round(width / ratio);
        else if (ratio) width = Math.round(height * ratio);
    }
    const across = orientation >= 5;
    const canvas = new OffscreenCanvas(across ? height : width, across ? width : height), on = canvas.getContext("2d");
    on.translate(canvas.width / 2, canvas.height / 2);
    if ([2, 4, 5, 7].includes(orientation)) on.scale(-1, 1);  // mirrored
    on.rotate({ 3: 180, 4: 180, 5: 90, 6: 90, 7: -90, 8: -90 }[orientation] * Math.PI / 180 || 0);
    on.drawImage(picture, -picture.width / 2, -picture.height / 2);
    picture.close();
    return canvas;
}

// What a JPEG's header contains: {picture: the camera's thumbnail, orientation: EXIF's, 1 to 8, ratio: width by height}, or null.
function embedded(data) {
    let at = 2, found = null;
    while (at + 10 < data.byteLength && data.getUint8(at) === 0xFF) {
        const marker = data.getUint8(at + 1), length = data.getUint16(at + 2);
        if (marker === 0xE1 && !found && data.getUint32(at + 4) === 0x45786966) {
            found = fromExif(data, at + 10, Math.min(data.byteLength, at + 2 + length));
            if (!found) return null;
        }
        // A frame header (ITU T.81, table B.1); C4, C8 and CC are other markers.
        if (found && marker >= 0xC0 && marker <= 0xCF && ![0xC4, 0xC8, 0xCC].includes(marker)) {
            found.ratio = data.getUint16(at + 7) / data.getUint16(at + 5) || 0;
            break;
        }
        if (marker === 0xDA) break;
        at += 2 + length;
    }
    return found;
}

// The thumbnail (Exif 2.32, 4.6: tags 0x0201 and 0x0202 of IFD1) and the orientation (tag 0x0112 of IFD0), or null.
function fromExif(data, tiff, end) {
    try {
        const little = data.getUint16(tiff) === 0x4949;
        const value = (ifd, tag, read) => {
            for (let index = 0; index < data.getUint16(ifd, little); index++) {
                if (data.getUint16(ifd + 2 + 12 * index, little) === tag) return read.call(data, ifd + 10 + 12 * index, little);
            }
            return 0;
        };
        const first = tiff + data.getUint32(tiff + 4, little);
        const next = data.getUint32(first + 2 + 12 * data.getUint16(first, little), little);
        if (!next) return null;
        const orientation = value(first, 0x0112, data.getUint16) || 1;
        const start = tiff + value(tiff + next, 0x0201, data.getUint32), size = value(tiff + next, 0x0202, data.getUint32);
        if (start === tiff || !size || start + size > end) return null;
        return { picture: new Blob([new Uint8Array(data.buffer, start, size)], { type: "image/jpeg" }), orientation, ratio: 0 };
    } catch (error) {
        return null;  // damaged EXIF
    }
}
