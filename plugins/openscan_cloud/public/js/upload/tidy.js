// Has the browser free requests, blobs and pictures that are no longer used.
//
// Browsers tidy up when the memory of scripts grows. What a browser itself holds for a script hardly counts there: an upload of 1,800 photos
// piled up 60 MB in Chromium. A large buffer counts, and takes no memory as long as nothing is written to it.
const BUFFER_BYTES = 1 << 26;
let kept = null;  // a buffer that is dropped at once would be freed without tidying up the rest

export function tidy() {
    try {
        kept = new ArrayBuffer(BUFFER_BYTES);
    } catch (error) {
        kept = null;  // memory is short, so the browser tidies up by itself
    }
}
