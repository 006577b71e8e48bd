"""The window `openscan-uploader`: choose photos, send them, get the model. Tk, because it comes with Python and opens at once."""
import os
import subprocess
import sys
import time
import tkinter
from pathlib import Path
from tkinter import filedialog, messagebox, ttk
from typing import Any, Callable, Dict, List, Literal, Optional, Sequence, Tuple

from openscan_uploader.client import Plan
from openscan_uploader.control import Progress
from openscan_uploader.desk import Desk
from openscan_uploader.server import DONE, EXPIRED, FAILED, TokenInfo
from openscan_uploader.sets import GIVEN_UP, SENDING, Set
from openscan_uploader.words import count, duration, size

_TICK_MS = 80
_THUMBNAIL = 96
_CELL = _THUMBNAIL + 10
_ACCENT, _QUIET, _BAD, _GROUND, _LINE = "#1f6f8b", "#5b6770", "#a3291f", "#f6f7f8", "#c9d1d6"
_WORDS = {
    "initialized": "waiting", "file approved": "waiting", "processing started": "in work", DONE: "done", FAILED: "failed",
    EXPIRED: "expired", SENDING: "not finished", GIVEN_UP: "given up", "created": "not finished",
}


class Window:
    """The window. `root` is Tk's root; tests look at the widgets."""

    def __init__(self, source: "Optional[Sequence[str]]" = None) -> None:
        """Build the window and load the saved account.

        Args:
            source: paths to start with, such as a folder that was dropped on the program's icon.
        """
        self.desk = Desk()
        self.root, self._drops = _new_root()
        self.root.title("OpenScan Uploader")
        self.root.geometry("900x720")
        self.root.minsize(720, 600)
        self.root.configure(background=_GROUND)
        self.root.protocol("WM_DELETE_WINDOW", self.close)
        self._source: Any = None
        self._plan: Optional[Plan] = None
        self._plan_number = 0
        self._credit: Optional[TokenInfo] = None
        self._pictures: Dict[int, tkinter.PhotoImage] = {}
        self._sets: Dict[str, Set] = {}
        self._wanted = list(source or ())
        self._style()
        self._build()
        self.root.after(_TICK_MS, self._tick)
        self.desk.open_saved_account()

    def run(self) -> None:
        """Show the window until it is closed."""
        self.root.mainloop()

    def close(self) -> None:
        """Close the window. A running upload can be continued later."""
        if self.desk.busy and not messagebox.askyesno(
                "Close?", "Photos are still being sent. Close anyway? You can continue later: choose the same photos again."):
            return
        self.desk.close()
        self.root.destroy()

    # Building -------------------------------------------------------------------------------------------------------

    def _style(self) -> None:
        style = ttk.Style(self.root)
        if sys.platform not in ("win32", "darwin"):
            style.theme_use("clam")
        style.configure(".", background=_GROUND)
        style.configure("TFrame", background=_GROUND)
        style.configure("Quiet.TLabel", foreground=_QUIET, background=_GROUND)
        style.configure("Bad.TLabel", foreground=_BAD, background=_GROUND)
        style.configure("Head.TLabel", font=("TkDefaultFont", 15, "bold"), background=_GROUND)
        style.configure("Section.TLabel", font=("TkDefaultFont", 11, "bold"), background=_GROUND)
        style.configure("Send.TButton", font=("TkDefaultFont", 11, "bold"), padding=(18, 7))
        if style.theme_use() == "clam":
            style.configure("TButton", padding=(10, 6))
            style.configure("Send.TButton", background=_ACCENT, foreground="white")
            style.map("Send.TButton", background=[("disabled", "#b9c6cc"), ("active", "#185a71")], foreground=[("disabled", "#eef1f2")])
            style.configure("Horizontal.TProgressbar", background=_ACCENT, troughcolor="#e3e8ea", bordercolor="#e3e8ea")
            style.configure("Treeview", rowheight=26, bordercolor=_LINE)

    def _build(self) -> None:
        outer = ttk.Frame(self.root, padding=16)
        outer.pack(fill="both", expand=True)
        outer.columnconfigure(0, weight=1)
        outer.rowconfigure(2, weight=3)
        outer.rowconfigure(5, weight=2)

        head = ttk.Frame(outer)
        head.grid(row=0, column=0, sticky="ew", pady=(0, 8))
        head.columnconfigure(1, weight=1)
        ttk.Label(head, text="OpenScan Uploader", style="Head.TLabel").grid(row=0, column=0, sticky="w")
        self.account = ttk.Label(head, text="", style="Quiet.TLabel", anchor="e")
        self.account.grid(row=0, column=1, sticky="e", padx=8)
        self.change = ttk.Button(head, text="Change…", command=self._show_account)
        self._build_account(outer)

        self.canvas = tkinter.Canvas(outer, background="white", highlightthickness=1, highlightbackground=_LINE, height=190)
        self.canvas.grid(row=2, column=0, sticky="nsew")
        self.scroll = ttk.Scrollbar(outer, command=self.canvas.yview)
        self.canvas.configure(yscrollcommand=self._scrolled)
        self.canvas.bind("<Configure>", lambda _: self._draw())
        self.canvas.bind("<MouseWheel>", lambda event: self.canvas.yview_scroll(-1 if event.delta > 0 else 1, "units"))
        self.canvas.bind("<Button-4>", lambda _: self.canvas.yview_scroll(-1, "units"))  # X11's wheel
        self.canvas.bind("<Button-5>", lambda _: self.canvas.yview_scroll(1, "units"))
        if self._drops is not None:
            self.canvas.drop_target_register(self._drops)  # type: ignore[attr-defined]
            self.canvas.dnd_bind("<<Drop>>", lambda event: self.choose(list(self.root.tk.splitlist(event.data))))  # type: ignore[attr-defined]

        self.summary = ttk.Label(outer, text="", wraplength=840, justify="left")
        self.summary.grid(row=3, column=0, sticky="ew", pady=(8, 0))
        self._build_buttons(outer)
        self._build_past(outer)

    def _build_account(self, outer: ttk.Frame) -> None:
        self.account_frame = ttk.Frame(outer)
        self.account_frame.columnconfigure(1, weight=1)
        self.account_frame.columnconfigure(3, weight=1)
        ttk.Label(self.account_frame, text="Server").grid(row=0, column=0, padx=(0, 6))
        self.server = ttk.Entry(self.account_frame)
        self.server.grid(row=0, column=1, sticky="ew")
        ttk.Label(self.account_frame, text="Token").grid(row=0, column=2, padx=(12, 6))
        self.token = ttk.Entry(self.account_frame, show="•")
        self.token.grid(row=0, column=3, sticky="ew")
        self.enter = ttk.Button(self.account_frame, text="Connect", command=self._connect)
        self.enter.grid(row=0, column=4, padx=(12, 0))
        self.token.bind("<Return>", lambda _: self._connect())
        self.account_says = ttk.Label(self.account_frame, text="", style="Quiet.TLabel", wraplength=840)
        self.account_says.grid(row=1, column=0, columnspan=5, sticky="w", pady=(6, 8))

    def _build_buttons(self, outer: ttk.Frame) -> None:
        row = ttk.Frame(outer)
        row.grid(row=4, column=0, sticky="ew", pady=(8, 12))
        row.columnconfigure(3, weight=1)
        self.folder = ttk.Button(row, text="Choose a folder…", command=self._choose_folder)
        self.folder.grid(row=0, column=0)
        self.files = ttk.Button(row, text="Choose photos or a zip…", command=self._choose_files)
        self.files.grid(row=0, column=1, padx=8)
        self.fetch = tkinter.BooleanVar(self.root, value=True)
        ttk.Checkbutton(row, text="Put the model beside the photos", variable=self.fetch).grid(row=0, column=2, padx=(8, 0))
        self.send = ttk.Button(row, text="Upload", style="Send.TButton", command=self._send, state="disabled")
        self.send.grid(row=0, column=4, sticky="e")
        self.under_way = ttk.Frame(row)
        self.under_way.columnconfigure(0, weight=1)
        self.bar = ttk.Progressbar(self.under_way, maximum=1000)
        self.bar.grid(row=0, column=0, sticky="ew")
        self.pause = ttk.Button(self.under_way, text="Pause", command=self._pause)
        self.pause.grid(row=0, column=1, padx=8)
        self.stop = ttk.Button(self.under_way, text="Cancel", command=self._cancel)
        self.stop.grid(row=0, column=2)
        self.says = ttk.Label(row, text="", style="Quiet.TLabel", wraplength=840)
        self.says.grid(row=2, column=0, columnspan=5, sticky="w", pady=(6, 0))

    def _build_past(self, outer: ttk.Frame) -> None:
        frame = ttk.Frame(outer)
        frame.grid(row=5, column=0, columnspan=2, sticky="nsew")
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(1, weight=1)
        ttk.Label(frame, text="Sent from this computer", style="Section.TLabel").grid(row=0, column=0, sticky="w", pady=(0, 4))
        buttons = ttk.Frame(frame)
        buttons.grid(row=0, column=1, sticky="e", pady=(0, 4))
        self.open = ttk.Button(buttons, text="Open", command=self._open, state="disabled")
        self.download = ttk.Button(buttons, text="Download…", command=self._download, state="disabled")
        self.forget = ttk.Button(buttons, text="Remove", command=self._forget, state="disabled")
        for place, button in enumerate((self.open, self.download, self.forget)):
            button.grid(row=0, column=place, padx=(8, 0))
        columns: Dict[str, Tuple[str, int, Literal['w', 'e']]] = {
            "project": ("Name", 330, "w"), "state": ("State", 110, "w"), "photos": ("Photos", 80, "e"), "size": ("Size", 90, "e"),
            "sent": ("Sent", 150, "w")}
        self.past = ttk.Treeview(frame, columns=list(columns), show="headings", height=5, selectmode="browse")
        for name, (title, width, anchor) in columns.items():
            self.past.heading(name, text=title, anchor=anchor)
            self.past.column(name, width=width, anchor=anchor, stretch=name == "project")
        self.past.grid(row=1, column=0, columnspan=2, sticky="nsew")
        self.past.bind("<<TreeviewSelect>>", lambda _: self._show_choice())
        self.past.bind("<Double-1>", lambda _: self._open())

    # Actions of the user --------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._tell_account("Connecting …")
        self.enter.state(["disabled"])
        self.desk.open_account(self.server.get().strip(), self.token.get().strip())

    def _show_account(self) -> None:
        self.account_frame.grid(row=1, column=0, columnspan=2, sticky="ew")
        if self.desk.client is not None and not self.server.get():
            self.server.insert(0, self.desk.client.server.base)

    def _choose_folder(self) -> None:
        folder = filedialog.askdirectory(parent=self.root, title="The folder with the photos", mustexist=True)
        if folder:
            self.choose([folder])

    def _choose_files(self) -> None:
        files = filedialog.askopenfilenames(parent=self.root, title="Photos, or one zip")
        if files:
            self.choose(list(files))

    def choose(self, paths: "List[str]") -> None:
        """Show what would be sent of these paths: one folder, one zip, or photos."""
        if self.desk.busy or not paths:
            return
        if len(paths) > 1 and any(os.path.isdir(path) for path in paths):
            self._tell("Choose one folder at a time, or photos of one object.", bad=True)
            return
        if self.desk.client is None:
            self._wanted = paths
            self._tell("Enter the server and the token first.", bad=True)
            return
        self._source = paths[0] if len(paths) == 1 else paths
        self._plan = None
        self._pictures.clear()
        self.send.state(["disabled"])
        self.summary.configure(text=f"Looking at {Path(paths[0]).name} …")
        self._tell("")
        self._plan_number = self.desk.look(self._source)
        self._draw()

    def _send(self) -> None:
        if self._plan is None or self.desk.busy:
            return
        self.desk.upload(self._source, "", self.fetch.get())
        self._show_sending(True)

    def _pause(self) -> None:
        control = self.desk.control
        if control is None:
            return
        if control.paused:
            control.resume()
        else:
            control.pause()
        self.pause.configure(text="Resume" if control.paused else "Pause")

    def _cancel(self) -> None:
        if self.desk.control is not None:
            self.desk.control.cancel()
            self._tell("Canceling …")

    def _open(self) -> None:
        one = self._chosen()
        if one is None or not one.model:
            return
        if not os.path.exists(one.model):
            self._tell(f"{one.model} does not exist any more. Download the model again.", bad=True)
            return
        _open_in_system(one.model)

    def _download(self) -> None:
        one = self._chosen()
        if one is None:
            return
        folder = filedialog.askdirectory(parent=self.root, title="Where to put the model", mustexist=True)
        if folder:
            self.desk.download(one, str(Path(folder) / f"{Path(one.source).stem or 'photos'} model"))

    def _forget(self) -> None:
        one = self._chosen()
        if one is not None and messagebox.askyesno(
                "Remove?", f"Remove “{one.project}” from this list and from the server? A downloaded model stays."):
            self.desk.forget(one)

    # Events ---------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        answers: Dict[str, Callable[[Any], None]] = {
            "account": self._on_account, "account_failed": self._on_account_failed, "plan": self._on_plan,
            "plan_failed": self._on_plan_failed, "thumbnail": self._on_thumbnail, "progress": self._on_progress, "sent": self._on_sent,
            "stopped": self._on_stopped, "said": self._tell, "download": self._on_download, "model": self._on_model,
            "sets": self._on_sets}
        for _ in range(200):
            if self.desk.events.empty():
                break
            event = self.desk.events.get()
            answers[event.kind](event.value)
        self.root.after(_TICK_MS, self._tick)

    def _on_account(self, info: TokenInfo) -> None:
        self._credit = info
        self.enter.state(["!disabled"])
        self.account_frame.grid_remove()
        self.token.delete(0, "end")
        self.change.grid(row=0, column=2)
        host = self.desk.client.server.base.split("/")[2] if self.desk.client else ""
        who = f"{info.assigned_to} · " if info.assigned_to else ""
        self.account.configure(text=f"{who}{host} · {size(info.credit)} of credit left")
        if not self._source and self._wanted:
            self.choose(self._wanted)
        elif self._plan is None:
            self._draw()

    def _on_account_failed(self, sentence: str) -> None:
        self.enter.state(["!disabled"])
        self._show_account()
        self._tell_account(sentence or "Enter the server's address and your token once. You got them from the server's operator.",
                           bad=bool(sentence))
        self.server.focus_set()

    def _on_plan(self, plan: Plan) -> None:
        self._plan = plan
        text = f"{count(plan.photos, 'photo')}, {size(plan.size_bytes)}. Sending them costs {size(plan.size_bytes)} of credit"
        text += f"; {size(self._credit.credit)} are left." if self._credit else "."
        left_out = plan.found.left_out
        if left_out:
            shown = "; ".join(f"{left.name} {left.why}" for left in left_out[:3])
            more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            text += f"\nLeft out: {shown}{more}."
        self.summary.configure(text=text)
        if plan.problem:
            self._tell(plan.problem, bad=True)
        else:
            self.send.state(["!disabled"])
        self._draw()

    def _on_plan_failed(self, sentence: str) -> None:
        self._source = None
        self.summary.configure(text="")
        self._tell(sentence, bad=True)
        self._draw()

    def _on_thumbnail(self, value: "tuple[int, int, bytes]") -> None:
        number, place, data = value
        if number == self._plan_number:
            self._pictures[place] = tkinter.PhotoImage(master=self.root, data=data)
            self._draw_photo(place)

    def _on_progress(self, progress: Progress) -> None:
        if not self.desk.busy:
            return
        if progress.total_bytes:
            self.bar.configure(value=1000 * progress.done_bytes / progress.total_bytes)
        words = {"looking": "Looking at the photos …", "reading": "Reading the photos …", "connecting": "Connecting …"}
        text = words.get(progress.stage, f"{size(progress.done_bytes)} of {size(progress.total_bytes)} sent")
        if progress.stage == "sending" and progress.speed and not progress.message:
            text += f", {size(progress.speed)}/s, {duration((progress.total_bytes - progress.done_bytes) / progress.speed)} left"
        self._tell(f"{text}. {progress.message}" if progress.message else text)

    def _on_sent(self, project: str) -> None:
        self._show_sending(False)
        self.send.state(["disabled"])
        where = " Keep this window open: it will put the model beside the photos." if self.fetch.get() else ""
        self._tell(f"“{project}” has been sent and is being processed.{where}")

    def _on_stopped(self, sentence: str) -> None:
        self._show_sending(False)
        self._tell(sentence or "Canceled. Press Upload to continue where it stopped.", bad=bool(sentence))

    def _on_download(self, progress: Progress) -> None:
        if not self.desk.busy:
            of = f" of {size(progress.total_bytes)}" if progress.total_bytes else ""
            self._tell(f"Downloading “{progress.project}”: {size(progress.done_bytes)}{of}. {progress.message}".strip())

    def _on_model(self, path: str) -> None:
        self._tell(f"The model is in {path}.")

    def _on_sets(self, sets: "List[Set]") -> None:
        chosen = self.past.selection()
        self._sets = {one.key: one for one in sets[:200]}
        there = set(self.past.get_children())
        for key in there - set(self._sets):
            self.past.delete(key)
        for place, (key, one) in enumerate(self._sets.items()):
            sent = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at))
            status = one.status if one.state not in (SENDING, GIVEN_UP) else one.state
            values = (one.project, _WORDS.get(status, status), f"{one.photos:,}", size(one.size_bytes), sent)
            if key in there:
                self.past.item(key, values=values)
            else:
                self.past.insert("", place, iid=key, values=values)
        if chosen and chosen[0] in self._sets:
            self.past.selection_set(chosen[0])
        self._show_choice()

    # Showing --------------------------------------------------------------------------------------------------------

    def _chosen(self) -> "Optional[Set]":
        selected = self.past.selection()
        return self._sets.get(selected[0]) if selected else None

    def _show_choice(self) -> None:
        one = self._chosen()
        for button, on in ((self.open, one is not None and bool(one.model)), (self.download, one is not None and one.status == DONE),
                           (self.forget, one is not None)):
            button.state(["!disabled" if on else "disabled"])

    def _show_sending(self, on: bool) -> None:
        for button in (self.folder, self.files, self.send, self.change, self.enter):
            button.state(["disabled" if on else "!disabled"])
        if on:
            self.pause.configure(text="Pause")
            self.bar.configure(value=0)
            self.under_way.grid(row=1, column=0, columnspan=5, sticky="ew", pady=(10, 0))
        else:
            self.under_way.grid_remove()

    def _tell(self, sentence: str, bad: bool = False) -> None:
        self.says.configure(text=sentence, style="Bad.TLabel" if bad else "Quiet.TLabel")

    def _tell_account(self, sentence: str, bad: bool = False) -> None:
        self.account_says.configure(text=sentence, style="Bad.TLabel" if bad else "Quiet.TLabel")

    def _draw(self) -> None:
        """Draw the photos as a grid, or a hint if none are chosen."""
        self.canvas.delete("all")
        if self._source is None:
            what = "Drop a folder with photos here, or choose one below" if self._drops is not None else "Choose a folder with photos below"
            self.canvas.create_text(self.canvas.winfo_width() // 2, self.canvas.winfo_height() // 2, text=what, fill=_QUIET,
                                    font=("TkDefaultFont", 12))
            self.canvas.configure(scrollregion=(0, 0, 0, 0))
            return
        shown = 0 if self._plan is None else min(len(self._plan.found.photos), 60)
        for place in range(shown):
            self._draw_photo(place)
        if self._plan is not None and not self._plan.found.photos:
            self.canvas.create_text(self.canvas.winfo_width() // 2, self.canvas.winfo_height() // 2, fill=_QUIET,
                                    font=("TkDefaultFont", 12),
                                    text=f"{os.path.basename(str(self._source))}: {count(self._plan.photos, 'photo')}")
        rows = -(-shown // self._columns())
        self.canvas.configure(scrollregion=(0, 0, self.canvas.winfo_width(), max(rows * _CELL + 10, self.canvas.winfo_height() - 4)))

    def _draw_photo(self, place: int) -> None:
        x, y = place % self._columns() * _CELL + 8, place // self._columns() * _CELL + 8
        tag = f"photo{place}"
        self.canvas.delete(tag)
        picture = self._pictures.get(place)
        if picture is not None:
            self.canvas.create_image(x + _THUMBNAIL // 2, y + _THUMBNAIL // 2, image=picture, tags=tag)
        elif self._plan is not None:
            self.canvas.create_rectangle(x, y, x + _THUMBNAIL, y + _THUMBNAIL, fill="#eef1f3", outline="", tags=tag)
            name = os.path.basename(self._plan.found.photos[place].name)
            self.canvas.create_text(x + _THUMBNAIL // 2, y + _THUMBNAIL // 2, text=name, width=_THUMBNAIL - 8, fill=_QUIET,
                                    font=("TkDefaultFont", 8), tags=tag)

    def _scrolled(self, first: float, last: float) -> None:
        """Show the scrollbar only if there is something to scroll."""
        self.scroll.set(float(first), float(last))
        if float(first) <= 0 and float(last) >= 1:
            self.scroll.grid_remove()
        else:
            self.scroll.grid(row=2, column=1, sticky="ns")

    def _columns(self) -> int:
        return max(1, (self.canvas.winfo_width() - 12) // _CELL)


def _new_root() -> "tuple[tkinter.Tk, Any]":
    """Tk's root, and the type of file drops, or None if drag and drop is not available."""
    _be_sharp_on_windows()
    try:
        from tkinterdnd2 import DND_FILES, TkinterDnD
    except ImportError:
        return tkinter.Tk(className="OpenScanUploader"), None
    try:
        return TkinterDnD.Tk(className="OpenScanUploader"), DND_FILES
    except (RuntimeError, tkinter.TclError):  # its library does not fit this Tk
        return tkinter.Tk(className="OpenScanUploader"), None


def _be_sharp_on_windows() -> None:
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.shcore.SetProcessDpiAwareness(1)


def _open_in_system(path: str) -> None:
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606 - a folder that we made
    else:
        subprocess.Popen(["open" if sys.platform == "darwin" else "xdg-open", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Show the window, with the paths from the command line chosen. Returns the exit code."""
    Window(sys.argv[1:]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
