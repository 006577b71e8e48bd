// What a few images of each flight tell: when and with what they were taken, small pictures, and a map. The server fetches them; the page
// asks for those of the rows that are about to be seen, many in one call, and follows the ones that are not there yet.
import { call, Problem } from "./api.js";
import { button, fill, make } from "./dom.js";
import { t } from "./i18n.js";
import { hasPlace, showMap } from "./map.js";
import { loginLink } from "./notice.js";
import { calendarDays } from "./words.js";

const AHEAD = "300px", GATHER_MS = 150, MOST_AT_ONCE = 50, FIRST_LOOK_MS = 1000, LONGEST_LOOK_MS = 10000;

function keyOf(flight) {
    return JSON.stringify([flight.tenant_id, flight.system_id, flight.flight_name]);
}

export class Previews {
    // counted: called with a flight and its preview, which knows how many images there are
    constructor(counted) {
        this.counted = counted;
        this.cells = new Map();  // by keyOf: {flight, place, name}
        this.queue = new Set();  // cells to ask for
        this.waiting = new Map();  // by the preview's id: cells that the server fetches
        this.asking = false;
        this.observer = new IntersectionObserver(entries => this.seen(entries), { rootMargin: AHEAD });
    }

    // The place of a flight's preview: the same element each time that the list is drawn.
    cell(flight) {
        const known = this.cells.get(keyOf(flight));
        if (known) {
            known.flight = flight;
            return known.place;
        }
        const cell = { flight, place: make("div", { "class": "tapis-preview" }), name: `${flight.flight_name} (${flight.system_id})` };
        cell.place.tapisCell = cell;
        this.cells.set(keyOf(flight), cell);
        this.observer.observe(cell.place);
        return cell.place;
    }

    // Forget those that the list does not show any more.
    keepOnly(flights) {
        const wanted = new Set(flights.map(keyOf));
        for (const [key, cell] of this.cells) {
            if (wanted.has(key)) continue;
            this.cells.delete(key);
            this.queue.delete(cell);
            this.observer.unobserve(cell.place);
        }
        for (const [id, cell] of this.waiting) if (this.cells.get(keyOf(cell.flight)) !== cell) this.waiting.delete(id);
    }

    seen(entries) {
        for (const entry of entries) {
            if (!entry.isIntersecting) continue;
            this.observer.unobserve(entry.target);
            this.ask(entry.target.tapisCell);
        }
    }

    ask(cell) {
        this.busy(cell);
        this.queue.add(cell);
        clearTimeout(this.gathering);
        this.gathering = setTimeout(() => this.send(), GATHER_MS);
    }

    async send() {
        if (this.asking || !this.queue.size) return;
        this.asking = true;
        const cells = [...this.queue].slice(0, MOST_AT_ONCE);
        cells.forEach(cell => this.queue.delete(cell));
        try {
            await this.request(cells);
        } finally {
            this.asking = false;
        }
        this.send();
    }

    async request(cells, again = false) {
        const flights = cells.map(({ flight: { flight_name, system_id, tenant_id } }) => ({ flight_name, system_id, tenant_id }));
        try {
            const { previews } = await call("POST", "tapis-storage/flight-previews/", { flights, again });
            previews.forEach((preview, index) => this.take(cells[index], preview));
            this.lookSoon(FIRST_LOOK_MS);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            cells.forEach(cell => this.failed(cell, error.message, error.login));
        }
    }

    take(cell, preview) {
        if (preview.state === "waiting") {
            this.waiting.set(preview.id, cell);
            return;
        }
        this.waiting.delete(preview.id);
        if (preview.state === "failed") {
            this.failed(cell, preview.error, preview.needs_login ? "tapis" : "");
            return;
        }
        this.ready(cell, preview);
        if (preview.image_count !== null) this.counted(cell.flight, preview);
    }

    lookSoon(milliseconds) {
        clearTimeout(this.looking);
        if (!this.waiting.size) return;
        this.looking = setTimeout(() => this.look(milliseconds), milliseconds);
    }

    // A call that fails is made again, later and later. What the server has forgotten meanwhile can be asked for again.
    async look(milliseconds) {
        const ids = [...this.waiting.keys()].slice(0, MOST_AT_ONCE);
        if (!ids.length) return;  // the list shows other flights by now
        let next = Math.min(milliseconds * 1.5, LONGEST_LOOK_MS);
        try {
            const { previews } = await call("GET", "tapis-storage/flight-previews/?ids=" + ids.join());
            const found = new Map(previews.map(preview => [preview.id, preview]));
            for (const id of ids) {
                const cell = this.waiting.get(id);
                if (!cell) continue;
                this.waiting.delete(id);  // to the end of the line, where there are more than one call asks for
                if (found.has(id)) this.take(cell, found.get(id));
                else this.failed(cell, t("The preview no longer exists."));
            }
            if (previews.some(preview => preview.state !== "waiting")) next = FIRST_LOOK_MS;
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (error.login) {
                for (const cell of this.waiting.values()) this.failed(cell, error.message, error.login);
                this.waiting.clear();
            }
        }
        this.lookSoon(next);
    }

    busy(cell) {
        fill(cell.place, make("div", { "class": "tapis-strip tapis-strip-empty", "aria-hidden": "true" }),
            make("div", { "class": "text-muted" }, t("The preview is being fetched.")));
    }

    failed(cell, text, login = "") {
        const again = button(t("Try again"), t("Fetch the preview of {flight} again", { flight: cell.name }), () => {
            this.busy(cell);
            return this.request([cell], true);
        });
        fill(cell.place, make("div", { "class": "text-muted" }, text), login ? loginLink(login) : again);
    }

    ready(cell, preview) {
        const pictures = preview.images.filter(image => image.thumbnail);
        const taken = preview.taken_from && calendarDays(preview.taken_from, preview.taken_until);
        const facts = [taken, preview.camera].filter(Boolean).map(fact => make("div", {}, fact));
        if (!facts.length) facts.push(make("div", { "class": "text-muted" }, t("No date or camera in the images.")));
        const strip = make("ul", { "class": "tapis-strip", "aria-label": t("Images of {flight}", { flight: cell.name }) },
            ...pictures.map(image => make("li", {}, make("img", { src: image.thumbnail, alt: image.name, title: image.name, width: 56, height: 42 }))));
        const map = preview.images.some(hasPlace) ? button(t("Map"), t("Map of {flight}", { flight: cell.name }),
            () => showMap(map, t("Where the images of {flight} were taken", { flight: preview.flight_name }), preview.images)) : null;
        fill(cell.place, pictures.length ? strip : null, make("div", { "class": "tapis-preview-facts" }, make("div", {}, ...facts), map));
    }
}
