// Counts the photos in a zip, from its directory at the end (PKWARE's APPNOTE 6.3.9, 4.3.12 to 4.3.16), without unpacking it.

const PHOTO = /\.(jpe?g|jpe|jfif|png|tiff?|webp|bmp|hei[cf]|hif)$/i;
const LONGEST_DIRECTORY = 20_000_000;

async function view(file, start, length) {
    return new DataView(await file.slice(start, start + length).arrayBuffer());
}

// {photos, others}: how many members are photos by their names, and how many are not. Throws an Error if this is not a complete zip.
export async function photosInZip(file) {
    const tailStart = Math.max(0, file.size - 65_557);
    const tail = await view(file, tailStart, file.size - tailStart);
    let at = tail.byteLength - 22;
    while (at >= 0 && tail.getUint32(at, true) !== 0x06054b50) at--;
    if (at < 0) throw new Error("no end of central directory");
    let entries = tail.getUint16(at + 10, true), length = tail.getUint32(at + 12, true), start = tail.getUint32(at + 16, true);
    if (at >= 20 && tail.getUint32(at - 20, true) === 0x07064b50) {
        const end64 = await view(file, Number(tail.getBigUint64(at - 12, true)), 56);
        if (end64.byteLength < 56 || end64.getUint32(0, true) !== 0x06064b50) throw new Error("zip64 end is missing");
        entries = Number(end64.getBigUint64(32, true));
        length = Number(end64.getBigUint64(40, true));
        start = Number(end64.getBigUint64(48, true));
    }
    if (start + length > file.size || length > LONGEST_DIRECTORY) throw new Error("the directory does not fit");
    const directory = await view(file, start, length), names = new TextDecoder();
    let photos = 0, others = 0, position = 0;
    for (let index = 0; index < entries && position + 46 <= length; index++) {
        if (directory.getUint32(position, true) !== 0x02014b50) throw new Error("the directory is damaged");
        const nameLength = directory.getUint16(position + 28, true);
        const skip = nameLength + directory.getUint16(position + 30, true) + directory.getUint16(position + 32, true);
        const name = names.decode(new Uint8Array(directory.buffer, position + 46, Math.min(nameLength, length - position - 46)));
        const base = name.slice(name.lastIndexOf("/") + 1);
        if (base && !base.startsWith(".") && !name.includes("__MACOSX/")) PHOTO.test(base) ? photos++ : others++;
        position += 46 + skip;
    }
    return { photos, others };
}
