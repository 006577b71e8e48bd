"""An entry of the side menu."""


class Menu:
    """``css_icon`` is a class list; an entry with a submenu links to nothing."""

    def __init__(self, label, link="javascript:void(0)", css_icon="fa fa-caret-right fa-fw", submenu=()):
        self.label = label
        self.css_icon = css_icon
        self.submenu = list(submenu)
        self.link = "#" if self.has_submenu() else link

    def has_submenu(self) -> bool:
        """Whether there are entries below this one."""
        return len(self.submenu) > 0
