// A grid of thousands of equal cards. Only the rows near the visible part of the page are in the document.

/** Rows above and below the visible ones. */
const OVERSCAN = 3;

export class Grid {
  #items = [];
  /** The item and its version that each card in the document shows. */
  #cards = new Map();
  #columns = 1;
  #rowHeight = 1;
  #scheduled = false;

  /**
   * @param {HTMLElement} list its style gives the least width of a card, `--min`, and `--gap` in rem; a card's height is
   *   `--ratio` of its width and `--extra` rem
   * @param {(item: object, card: HTMLElement | undefined) => HTMLElement} render creates or updates the card of an item
   * @param {AbortSignal} signal ends the grid
   */
  constructor(list, render, signal) {
    this.list = list;
    this.render = render;
    this.signal = signal;
    addEventListener("scroll", () => this.#schedule(), { passive: true, signal });
    addEventListener("resize", () => this.#schedule(), { signal });
    list.onkeydown = (event) => this.#moveFocus(event);
  }

  /** @param {{version: number}[]} items a card is rendered again when its item's version has changed */
  show(items) {
    this.#items = items;
    this.#schedule();
  }

  /** Scrolls to the item's card and focuses it. */
  focus(item) {
    const index = this.#items.indexOf(item);
    if (index < 0) return;
    const top = this.list.getBoundingClientRect().top + Math.floor(index / this.#columns) * this.#rowHeight;
    // A sticky toolbar may cover the top.
    if (top < 120 || top + this.#rowHeight > innerHeight) scrollBy({ top: top - 140, behavior: "instant" });
    this.#draw();
    this.#cards.get(item).card.querySelector("a, button").focus({ preventScroll: true });
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (!this.signal.aborted) this.#draw();
    });
  }

  #draw() {
    // The server has rendered the first cards.
    if (!this.#cards.size) this.list.replaceChildren();
    this.list.classList.add("virtual");
    const style = getComputedStyle(this.list);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const [min, gap, ratio, extra] = ["--min", "--gap", "--ratio", "--extra"].map((name) => parseFloat(style.getPropertyValue(name)));
    const { top, width } = this.list.getBoundingClientRect();
    this.#columns = Math.max(1, Math.floor((width / rem + gap) / (min + gap)));
    const cardWidth = (width - gap * rem * (this.#columns - 1)) / this.#columns;
    const cardHeight = cardWidth * ratio + extra * rem;
    this.#rowHeight = cardHeight + gap * rem;
    this.list.style.height = `${Math.ceil(this.#items.length / this.#columns) * this.#rowHeight}px`;

    const first = Math.max(0, Math.floor(-top / this.#rowHeight) - OVERSCAN) * this.#columns;
    const end = (Math.ceil((innerHeight - top) / this.#rowHeight) + OVERSCAN) * this.#columns;
    const visible = new Set(this.#items.slice(first, Math.max(first, end)));
    for (const [item, { card }] of this.#cards) {
      // The focused card stays while it is scrolled away.
      if (visible.has(item) || (card.contains(document.activeElement) && this.#items.includes(item))) continue;
      card.remove();
      this.#cards.delete(item);
    }
    let index = first;
    let next = this.list.firstChild;
    for (const item of visible) {
      const card = this.#card(item);
      const column = index % this.#columns;
      const x = column * (cardWidth + gap * rem);
      const y = ((index - column) / this.#columns) * this.#rowHeight;
      Object.assign(card.style, { width: `${cardWidth}px`, height: `${cardHeight}px`, transform: `translate(${x}px, ${y}px)` });
      card.ariaSetSize = this.#items.length;
      card.ariaPosInSet = ++index;
      // Cards stay in the order of the items, for the Tab key.
      if (card === next) next = card.nextSibling;
      else this.list.insertBefore(card, next);
    }
  }

  #card(item) {
    const shown = this.#cards.get(item);
    if (shown?.version === item.version) return shown.card;
    const card = this.render(item, shown?.card);
    this.#cards.set(item, { card, version: item.version });
    return card;
  }

  /** Moves the focus to another card with the arrow keys, Home and End. */
  #moveFocus(event) {
    const last = this.#items.length - 1;
    const [focused] = [...this.#cards].find(([, { card }]) => card.contains(event.target));
    const index = this.#items.indexOf(focused);
    const targets = {
      ArrowLeft: index - 1,
      ArrowRight: index + 1,
      ArrowUp: index - this.#columns,
      ArrowDown: index + this.#columns,
      Home: 0,
      End: last,
    };
    const target = targets[event.key];
    if (!(target >= 0 && target <= last) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.focus(this.#items[target]);
  }
}
