// Where the images of a flight were taken: a map in a dialog, and the same as a list. Leaflet is loaded when the first map is opened.
import { button, byId, fill, make } from "./dom.js";
import { t, tn } from "./i18n.js";
import { moment } from "./words.js";

const LEAFLET = new URL("../vendor/leaflet/", import.meta.url);
const CLOSEST = 17, OPENSTREETMAP = "https://www.openstreetmap.org/copyright";
let loading = null;

export function hasPlace(image) {
    return image.latitude !== null && image.longitude !== null;
}

function loaded(element) {
    return new Promise((resolve, reject) => {
        element.addEventListener("load", resolve);
        element.addEventListener("error", () => reject(new Error(t("The map cannot be loaded."))));
        document.head.append(element);
    });
}

// Leaflet itself. A load that failed is tried again the next time.
function leaflet() {
    loading = loading || Promise.all([
        loaded(make("link", { rel: "stylesheet", href: new URL("leaflet.css", LEAFLET) })),
        loaded(make("script", { src: new URL("leaflet.js", LEAFLET) })),
    ]).then(() => window.L, error => {
        loading = null;
        throw error;
    });
    return loading;
}

// WebODM's theme is a set of colours that its administrator chooses: a dialog has to take over those of the page.
function takeColors(dialog, page) {
    dialog.style.color = getComputedStyle(page).color;
    for (let element = page; element; element = element.parentElement) {
        const color = getComputedStyle(element).backgroundColor;
        if (color === "transparent" || /, 0\)$/.test(color)) continue;
        dialog.style.backgroundColor = color;
        break;
    }
}

function coordinates({ latitude, longitude }) {
    return `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
}

function facts(image) {
    return [coordinates(image), image.taken_at && moment(image.taken_at)].filter(Boolean);
}

// opener: gets the focus back; images: as the API tells them; those without a position are only counted
export async function showMap(opener, title, images) {
    const page = byId("tapis-flights"), placed = images.filter(hasPlace);
    const place = make("div", { "class": "tapis-map", role: "region", "aria-label": t("Map") });
    const notice = make("p", { "class": "text-muted", role: "status" });
    const close = button("×", t("Close the map"), () => dialog.close());
    const list = make("ol", { "class": "tapis-map-list" });
    const without = images.length - placed.length;
    const dialog = make("dialog", { "class": "tapis-map-dialog", "aria-labelledby": "tapis-map-title" },
        make("div", { "class": "tapis-map-head" }, make("h4", { id: "tapis-map-title" }, title), close), place, notice, list,
        without ? make("p", { "class": "text-muted" }, tn("{n} image has no position.", "{n} images have no position.", without)) : null);
    takeColors(dialog, page);
    page.append(dialog);
    let map = null;
    dialog.addEventListener("close", () => {
        if (map) map.remove();
        dialog.remove();
        opener.focus();
    });
    dialog.showModal();
    const items = placed.map(image => make("li", {}, image.name + " ", make("span", { "class": "text-muted" }, facts(image).join(" · "))));
    fill(list, ...items);
    try {
        const L = await leaflet();
        if (!dialog.isConnected) return;  // closed while it loaded
        map = draw(L, place, placed, page.dataset, notice);
        fill(list, ...placed.map((image, index) => make("li", {}, button(image.name, t("Show {image} on the map", { image: image.name }),
            async () => map.show(index)), " ", make("span", { "class": "text-muted" }, facts(image).join(" · ")))));
    } catch (error) {
        place.remove();
        notice.textContent = error.message;
    }
}

// :returns: what takes the map away again, and shows one of the images on it
function draw(L, place, images, { tiles, attribution }, notice) {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const map = L.map(place, { attributionControl: false, zoomAnimation: !still, fadeAnimation: !still, markerZoomAnimation: !still });
    map.fitBounds(images.map(image => [image.latitude, image.longitude]), { padding: [30, 30], maxZoom: CLOSEST, animate: false });
    L.control.scale().addTo(map);
    if (tiles) addTiles(L, map, tiles, attribution, notice);
    const markers = images.map(image => {
        const picture = image.thumbnail ? make("img", { src: image.thumbnail, alt: "" }) : null;
        const words = make("div", { "class": "tapis-map-popup" }, picture, ...[image.name, ...facts(image)].map(fact => make("div", {}, fact)));
        return L.circleMarker([image.latitude, image.longitude], { radius: 8, weight: 2, color: "#fff", fillColor: "#b3261e", fillOpacity: .9 })
            .bindPopup(words, { minWidth: 160, maxWidth: 200 }).addTo(map);
    });
    return { remove: () => map.remove(), show: index => markers[index].openPopup() };
}

// A page that tells other sites no address has to tell the tiles' server its origin: OpenStreetMap's rules ask for that.
function addTiles(L, map, tiles, attribution, notice) {
    const osm = /(^|\.)openstreetmap\.org$/.test(new URL(tiles.replace("{s}.", "")).hostname);
    const words = osm ? make("a", { href: OPENSTREETMAP, target: "_blank", rel: "noopener" }, attribution) : attribution;
    const layer = L.tileLayer(tiles, { maxZoom: 19, referrerPolicy: "origin" });
    let any = false;
    layer.on("tileload", () => {
        any = true;
        fill(notice, words);
    });
    layer.on("tileerror", () => {
        if (!any) notice.textContent = t("The map's background cannot be loaded. The points are where the images were taken.");
    });
    layer.addTo(map);
    fill(notice, words);
}
