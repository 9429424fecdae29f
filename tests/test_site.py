"""The built site, opened in Chromium as a reader would.

The tests skip where the site has not been built or there is no browser. Where
``SKSIAMESE_SITE`` names the folder of the site, as in continuous integration, they fail
instead. ``SKSIAMESE_SCREENSHOTS`` names a folder that pictures of the pages go to.
"""

import functools
import os
import shutil
import threading
import urllib.request
import xml.etree.ElementTree as ElementTree
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

pytestmark = pytest.mark.browser

NAMED = os.environ.get("SKSIAMESE_SITE")
SITE = Path(NAMED or Path(__file__).parents[1] / "docs" / "_build" / "html").resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if not path.relative_to(SITE).parts[0].startswith("_")
)
NARROW, WIDE = 380, 1400
KINDS = [
    "index.html",
    "user_guide/verify.html",
    "api/sksiamese.SiameseClassifier.html",
    "auto_examples/plot_01_first_classifier.html",
    "auto_examples/index.html",
]

# What the tests ask about an open page, gathered in one call.
FACTS = """async () => {
    const images = [...document.images];
    for (const image of images) {
        image.loading = "eager";
        await image.decode().catch(() => null);
    }
    return {
        title: document.title,
        headings: [...document.querySelectorAll("h1")].map(h => h.textContent),
        anchors: [...document.querySelectorAll("[id], a[name]")]
            .map(node => node.id || node.name),
        links: [...document.querySelectorAll("a[href]")].map(link => link.href),
        broken: images.filter(i => i.naturalWidth === 0).map(i => i.src),
        nameless: images.filter(i => !i.hasAttribute("alt")).map(i => i.src),
        // A picture may go without words only where words stand beside it.
        mute: images.filter(i => i.alt === "" && i.closest("article")
            && !i.closest(".sphx-glr-thumbcontainer")).map(i => i.src),
    };
}"""

# Whatever is cut off at the right of the column, unless it scrolls in a box of its own.
OVERFLOW = """() => {
    const column = document.querySelector(".bd-article-container");
    const edge = Math.min(column.getBoundingClientRect().right, innerWidth) + 1;
    const scrolls = node => /auto|scroll/.test(getComputedStyle(node).overflowX);
    const cut = [];
    for (const node of column.querySelectorAll("*")) {
        if (node.getBoundingClientRect().right <= edge) continue;
        let box = node;
        while (box !== column && !scrolls(box)) box = box.parentElement;
        if (box === column) cut.push(node.outerHTML.slice(0, 120));
    }
    if (document.documentElement.scrollWidth > innerWidth) cut.push("the whole page");
    return cut;
}"""

# Every piece of visible text in the article: its ratio of contrast, by WCAG 2.2, and
# its size. Colours are painted on a canvas, which knows every notation.
TEXTS = """() => {
    const pen = document.createElement("canvas").getContext("2d");
    const known = new Map();
    const layers = node => {
        if (!node) return ["white"];
        if (!known.has(node)) {
            const color = getComputedStyle(node).backgroundColor;
            const below = layers(node.parentElement);
            known.set(node, color === "rgba(0, 0, 0, 0)" ? below : [...below, color]);
        }
        return known.get(node);
    };
    const painted = new Map();
    const paint = colors => {
        const key = colors.join();
        if (!painted.has(key)) {
            for (const color of colors) {
                pen.fillStyle = color;
                pen.fillRect(0, 0, 1, 1);
            }
            painted.set(key, [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
        }
        return painted.get(key);
    };
    const luminance = rgb => {
        const [r, g, b] = rgb.map(v => v / 255).map(
            v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const node of document.querySelectorAll(".bd-article *")) {
        const text = [...node.childNodes].filter(child => child.nodeType === 3)
            .map(child => child.data).join("").trim();
        const visible = node.checkVisibility(
            {opacityProperty: true, visibilityProperty: true});
        if (!text || !visible || node.matches(".headerlink")) continue;
        const style = getComputedStyle(node);
        const below = layers(node);
        const [light, dark] = [paint(below), paint([...below, style.color])]
            .map(luminance).sort((a, b) => b - a);
        found.push({
            text: text.slice(0, 60),
            contrast: (light + 0.05) / (dark + 0.05),
            size: parseFloat(style.fontSize),
            prose: node.matches("p, li, dd, dt, td, th, figcaption, .caption-text"),
        });
    }
    return found;
}"""


def test_picture_of_the_layers_agrees_with_their_table():
    docs = Path(__file__).parents[1] / "docs"
    page = (docs / "development" / "architecture.md").read_text()
    table = dict.fromkeys("0123456", "")
    for row in page.splitlines():
        if row.startswith("| ") and row[2] in table:
            table[row[2]] += row
    table["6"] += "`sksiamese.py`"
    layer, n_rooms = None, 0
    for text in ElementTree.parse(docs / "_static" / "layers.svg").iter():
        if text.get("class") == "floor":
            layer = text.text
        elif text.get("class") == "name":
            # A package is there with any of its modules.
            names = (f"`{text.text}.py`", f"`{text.text}/_")
            assert any(name in table[layer] for name in names), (layer, text.text)
            n_rooms += 1
    assert n_rooms > 20


def give_up(reason):
    """Skip, or fail where the site was asked for by name."""
    (pytest.fail if NAMED else pytest.skip)(reason)


@pytest.fixture(scope="module")
def base():
    """Serve the site, and give its address."""
    if not (SITE / "index.html").exists():
        give_up(f"no site in {SITE}: run 'sphinx-build -W --keep-going docs {SITE}'")

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def end_headers(self):
            # Scripts that all pages share are fetched once.
            self.send_header("Cache-Control", "max-age=600")
            super().end_headers()

        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(base):
    """Start Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        give_up("no playwright: run 'pip install playwright'")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        give_up("no Chromium on the path: install your system's package 'chromium'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            # Root, as in containers, can not have the sandbox. No other host is found.
            args=[
                "--no-sandbox",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, base):
    """Give a function that opens a page of the site in a browser of its own."""
    contexts = []

    def open_page(name, width=WIDE, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(base + name)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def visits(browser, base):
    """Open every page on a narrow screen, and note what is there and what fails."""
    context = browser.new_context(viewport={"width": NARROW, "height": 900})
    page = context.new_page()
    others, troubles = [], []

    def note_host(request):
        if not request.url.startswith((base, "data:", "blob:")):
            others.append(request.url)

    page.on("request", note_host)
    page.on("console", lambda m: m.type == "error" and troubles.append(m.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on(
        "response",
        lambda r: r.status >= 400 and troubles.append(f"{r.status} {r.url}"),
    )
    visits = {}
    for name in PAGES:
        page.goto(base + name, wait_until="load")
        visits[name] = page.evaluate(FACTS) | {"cut": page.evaluate(OVERFLOW)}
        visits[name] |= {"others": others.copy(), "troubles": troubles.copy()}
        others.clear()
        troubles.clear()
    context.close()
    return visits


def gather(visits, fact):
    """Give what was noted under a name, for the pages where it is not empty."""
    return {name: visit[fact] for name, visit in visits.items() if visit[fact]}


def test_pages_opened_ask_no_other_host_and_raise_no_error(visits):
    assert len(visits) > len(KINDS)
    others = gather(visits, "others")
    assert not others
    troubles = gather(visits, "troubles")
    assert not troubles


def test_links_within_the_site_all_lead_somewhere(visits, base):
    dead, reached = set(), set()
    for name, visit in visits.items():
        for link in visit["links"]:
            address, anchor = urldefrag(link)
            if not address.startswith(base):
                continue
            target = unquote(address.removeprefix(base)).partition("?")[0]
            if target.endswith("/") or not target:
                target += "index.html"
            if target not in visits and target not in reached:
                if not (SITE / target).is_file():
                    dead.add((name, link))
                    continue
                with urllib.request.urlopen(address) as answer:
                    assert answer.status == 200
                reached.add(target)
            anchors = visits.get(target, {}).get("anchors", [])
            if anchor and target in visits and unquote(anchor) not in anchors:
                dead.add((name, link))
    assert not sorted(dead)


def test_images_all_load_and_have_words(visits):
    broken = gather(visits, "broken")
    assert not broken
    nameless = gather(visits, "nameless")
    assert not nameless
    mute = gather(visits, "mute")
    assert not mute


def test_pages_each_have_one_heading_and_a_title_of_their_own(visits):
    counts = {name: len(visit["headings"]) for name, visit in visits.items()}
    wrong = {name: count for name, count in counts.items() if count != 1}
    assert not wrong
    titles = [visit["title"].strip() for visit in visits.values()]
    assert all(titles)
    doubled = {title for title in titles if titles.count(title) > 1}
    assert not doubled


def test_pages_on_a_telephone_are_not_cut_off(visits):
    cut = gather(visits, "cut")
    assert not cut


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("name", KINDS)
def test_page_in_either_size_and_scheme_can_be_read(open_page, name, width, scheme):
    page = open_page(name, width, scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    folder = os.environ.get("SKSIAMESE_SCREENSHOTS")
    if folder:
        file = f"{name.removesuffix('.html').replace('/', '_')}_{width}_{scheme}.png"
        # Chromium can not paint pages of any length into one picture.
        clip = {"x": 0, "y": 0, "width": width, "height": 6000}
        page.screenshot(path=Path(folder) / file, full_page=True, clip=clip)
    cut = page.evaluate(OVERFLOW)
    assert not cut
    texts = page.evaluate(TEXTS)
    assert len(texts) > 20
    faint = [text for text in texts if text["contrast"] < 4.5]
    assert not faint
    small = [text for text in texts if text["prose"] and text["size"] < 14]
    assert not small


@pytest.mark.parametrize("name", KINDS)
def test_navigation_on_a_telephone_opens_by_its_button(open_page, name):
    page = open_page(name, NARROW)
    menu = page.locator("dialog#pst-primary-sidebar-modal")
    link = menu.get_by_role("link", name="User guide", exact=True).first
    assert not link.is_visible()
    page.locator("button.primary-toggle").click()
    link.click()
    page.wait_for_url("**/user_guide/index.html")


@pytest.mark.parametrize("name", KINDS)
def test_navigation_on_a_wide_screen_is_there(open_page, name):
    page = open_page(name, WIDE)
    header = page.locator(".bd-header")
    for title in ("User guide", "Examples", "API"):
        assert header.get_by_role("link", name=title, exact=True).is_visible()


def test_search_for_an_estimator_finds_its_page(open_page):
    page = open_page("index.html")
    page.locator("button.search-button-field >> visible=true").click()
    page.keyboard.type("SiameseClassifier")
    page.keyboard.press("Enter")
    results = page.locator("#search-results ul.search li > a")
    results.first.wait_for()
    first = [link.get_attribute("href") for link in results.all()[:3]]
    assert any("api/sksiamese.SiameseClassifier.html" in address for address in first)


def copy_blocks(page):
    """Press every copy button of a page: the text of each block, and what it copied."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copied = []
    for block in page.locator("div.highlight:has(> pre):has(button.copybtn)").all():
        block.hover()
        page.evaluate("navigator.clipboard.writeText('')")
        block.locator("button.copybtn").click()
        page.wait_for_function(
            "async () => await navigator.clipboard.readText() !== ''"
        )
        text = page.evaluate("navigator.clipboard.readText()")
        copied.append((block.locator("pre").inner_text().strip(), text.strip()))
    return copied


def test_copy_buttons_of_the_landing_page_copy_whole_blocks(open_page):
    copied = copy_blocks(open_page("index.html"))
    assert len(copied) >= 4
    for text, copy in copied:
        assert copy == text


@pytest.mark.parametrize(
    "name", ["user_guide/verify.html", "api/sksiamese.SiameseClassifier.html"]
)
def test_copy_buttons_leave_out_prompts_and_outputs(open_page, name):
    copied = copy_blocks(open_page(name))
    assert len(copied) >= 4
    for text, copy in copied:
        lines = [line for line in text.splitlines() if line[:4] in (">>> ", "... ")]
        assert lines
        assert copy == "\n".join(line[4:] for line in lines).strip()


def test_copy_buttons_of_an_example_are_on_code_only(open_page):
    page = open_page("auto_examples/plot_01_first_classifier.html")
    assert page.locator("div.highlight-Python button.copybtn").count() >= 3
    assert page.locator(".sphx-glr-script-out").count() >= 1
    assert page.locator(".sphx-glr-script-out button.copybtn").count() == 0


def test_keyboard_first_reaches_the_link_to_the_text(open_page):
    page = open_page("user_guide/verify.html")
    page.keyboard.press("Tab")
    skip = page.locator("#pst-skip-link a")
    assert skip.evaluate("link => link === document.activeElement")
    assert skip.is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = "document.activeElement.closest('#main-content') !== null"
    assert page.evaluate(inside)


def test_keyboard_goes_through_the_header_in_the_order_of_reading(open_page):
    page = open_page("index.html")
    places = []
    for _ in range(12):
        page.keyboard.press("Tab")
        places.append(
            page.evaluate("document.activeElement.getBoundingClientRect().left")
        )
    in_header = places[1:8]
    assert in_header == sorted(in_header)
