"use strict";
(() => {
  const MAX_BUTTONS = 11; // more levels than these are typed
  const said = JSON.parse(document.getElementById("said").textContent);
  const token = new URLSearchParams(location.search).get("token") || "";
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  let language = /^ru\b/i.test(navigator.language || "") ? "ru" : "en";
  let now = null; // what the server told last
  let saved = null; // the score that was just given, while the judge's is shown
  let note = null; // what happened last: a text's name and its values
  let busy = false;

  const t = (key, values = {}) =>
    said[key][language].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

  // Text from outside is only ever set as text. What would move, hide or reorder other text is shown as an escape.
  const visible = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, (c) =>
      c === "\n" || c === "\t" || c === "\u200d" ? c : "\\u{" + c.codePointAt(0).toString(16) + "}");
  const put = (id, text) => { at(id).textContent = visible(text); };
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = visible(text);
    return made;
  };

  const ask = async (path, body) => {
    if (busy) return null;
    busy = true;
    try {
      const headers = { "X-Token": token, ...(body ? { "Content-Type": "application/json" } : {}) };
      const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
      at("lost").hidden = true;
      if (!answer.ok) { note = ["refused", { why: await answer.text() }]; showNote(); return null; }
      note = null;
      return await answer.json();
    } catch {
      at("lost").hidden = false;
      return null;
    } finally {
      busy = false;
    }
  };

  const keysOf = (levels) => {
    const digits = levels.every(({ score }) => Number.isInteger(score) && score >= 0 && score <= 9);
    return levels.map(({ score }, place) => (digits ? String(score) : place < 9 ? String(place + 1) : place === 9 ? "0" : ""));
  };
  const withoutHead = ({ score, text }) => {
    const head = text.match(/^[\s*\-•[]*(-?\d+(?:[.,]\d+)?)[\s*\]]*[:.)—–-]+\s*/);
    return head && Number(head[1].replace(",", ".")) === score ? text.slice(head[0].length) : text;
  };

  const drawLevels = (levels) => {
    const typed = levels.length > MAX_BUTTONS;
    at("numeric").hidden = !typed;
    at("levels").hidden = typed;
    const keys = keysOf(levels);
    at("levels").replaceChildren(...(typed ? [] : levels.map((level, place) => {
      const button = make("button");
      button.type = "button";
      button.dataset.score = String(level.score);
      if (keys[place]) button.setAttribute("aria-keyshortcuts", keys[place]);
      const beside = make("span", "given");
      if (keys[place] && keys[place] !== String(level.score)) beside.append(make("kbd", "", t("level_key", { key: keys[place] })));
      button.append(make("b", "", level.score), make("span", "text", withoutHead(level)), beside);
      button.addEventListener("click", () => give(level.score));
      return button;
    })));
    at("rubric").open = typed || levels.every(({ text }) => !text);
  };

  const showNote = () => {
    at("trouble").hidden = !note;
    if (note) put("trouble", t(...note));
  };

  const show = () => {
    root.lang = root.dataset.language = language;
    each("[data-set-language]", (button) =>
      button.setAttribute("aria-pressed", String(button.dataset.setLanguage === language)));
    document.title = document.querySelector(`h1 [lang="${language}"]`).textContent;
    showNote();
    if (!now) return;
    const { done, total, skipped } = now.progress;
    put("done", t(skipped ? "done_skipped" : "done", { done, total, skipped }));
    put("who", t("as", { annotator: now.annotator }));
    at("bar").max = Math.max(1, total);
    at("bar").value = done;
    each(".undo", (button) => { button.disabled = !now.can_undo; });
    const asked = saved ? saved.ask : now.ask;
    at("finished").hidden = Boolean(asked);
    at("work").hidden = !asked;
    if (!asked) return;
    put("task", asked.task === "unspecified" ? "" : `· ${asked.task}`);
    put("instruction", asked.instruction);
    at("reference-part").hidden = !asked.reference;
    put("reference", asked.reference || "");
    put("answer", asked.answer.trim() ? asked.answer : t("empty"));
    put("place", t("place", asked));
    put("criterion", asked.criterion);
    at("gate").hidden = !asked.is_gate;
    put("gate", t("gate"));
    put("rubrics", asked.rubrics);
    at("asking").hidden = Boolean(saved);
    at("shown").hidden = !saved;
    if (saved) showVerdict(saved);
  };

  const mark = () => {
    const judged = saved.verdict && saved.verdict.score;
    each("#levels button", (button) => {
      const score = Number(button.dataset.score);
      const marks = [[score === saved.score, "mine", "you"], [judged === score, "judges", "the_judge"]].filter(([is]) => is);
      button.disabled = true;
      button.classList.add(...marks.map(([, name]) => name));
      button.querySelector(".given").replaceChildren(...marks.map(([, , text]) => make("span", "", t(text))));
    });
  };

  const showVerdict = ({ score, verdict }) => {
    mark();
    put("own-score", t("saved", { score }));
    put("judge-name", now.judge.is_demonstration ? `${now.judge.name}, ${t("demonstration")}` : now.judge.name);
    const judged = verdict && verdict.score !== null;
    put("judge-score", judged
      ? t(verdict.score === score ? "same" : "differs", { judge: verdict.score, score })
      : t("no_verdict", { status: verdict ? verdict.status : "missing" }));
    put("rationale", (verdict && verdict.rationale) || "");
  };

  const take = (told, focus) => {
    if (!told) return;
    const was = saved ? saved.ask : now && now.ask;
    now = told;
    saved = null;
    at("reasons").hidden = true;
    at("skip").setAttribute("aria-expanded", "false");
    at("words").value = "";
    at("number").value = "";
    if (now.ask) drawLevels(now.ask.levels);
    show();
    if (!now.ask) at("finished").focus();
    else if (focus && (!was || now.ask.answer_id !== was.answer_id)) { scrollTo(0, 0); at("texts").focus({ preventScroll: true }); }
    else if (focus) at("score").focus({ preventScroll: innerWidth > 960 });
  };

  const give = async (score) => {
    if (saved || !now || !now.ask) return;
    const asked = now.ask;
    const told = await ask("/score", { id: asked.id, score, words: at("words").value });
    if (!told) return;
    saved = { ...told.saved, ask: asked, following: told };
    now = { ...told };
    show();
    put("news", `${at("own-score").textContent} ${at("judge-score").textContent}`);
    at("shown").focus({ preventScroll: innerWidth > 960 });
  };
  const goOn = () => { if (saved) take(saved.following, true); };
  const skip = async (reason) => {
    if (saved || !now || !now.ask) return;
    take(await ask("/skip", { id: now.ask.id, reason, words: at("words").value }), true);
  };
  const undo = async () => {
    if (!now || !now.can_undo) return;
    const told = await ask("/undo", {});
    if (!told) return;
    take(told, true);
    const { score, words } = told.undone;
    at("words").value = words || "";
    put("news", score === undefined ? t("undone_skip") : t("undone", { score }));
  };
  const reasons = (open) => {
    at("reasons").hidden = !open;
    at("skip").setAttribute("aria-expanded", String(open));
    (open ? document.querySelector("[data-reason]") : at("skip")).focus();
  };
  const giveTyped = () => {
    const levels = now.ask.levels.map(({ score }) => score);
    const score = Number(at("number").value.trim().replace(",", "."));
    if (at("number").value.trim() && levels.includes(score)) give(score);
    else { note = ["not_a_level", { levels: levels.length > 20 ? `${levels[0]} … ${levels.at(-1)}` : levels.join(", ") }]; showNote(); }
  };

  each("[data-set-language]", (button) =>
    button.addEventListener("click", () => { language = button.dataset.setLanguage; show(); }));
  each("[data-reason]", (button) => button.addEventListener("click", () => skip(button.dataset.reason)));
  each(".undo", (button) => button.addEventListener("click", undo));
  at("skip").addEventListener("click", () => reasons(at("reasons").hidden));
  at("cancel").addEventListener("click", () => reasons(false));
  at("next").addEventListener("click", goOn);
  at("give").addEventListener("click", giveTyped);

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    const field = event.target.closest("input, textarea");
    if (field) {
      if (event.key === "Escape") { field.blur(); at("score").focus({ preventScroll: true }); }
      else if (event.key === "Enter" && field.id === "number") giveTyped();
      return;
    }
    const onControl = event.target.closest("button, summary, a");
    const choosing = !at("reasons").hidden && !saved;
    const act = () => {
      if (saved) return event.key === "Enter" && !onControl ? goOn : null;
      if (!now || !now.ask) return null;
      if (choosing) {
        if (event.key === "Escape") return () => reasons(false);
        const button = document.querySelectorAll("[data-reason]")[Number(event.key) - 1];
        return button ? () => button.click() : null;
      }
      const place = now.ask.levels.length > MAX_BUTTONS ? -1 : keysOf(now.ask.levels).indexOf(event.key);
      return event.key && place >= 0 ? () => give(now.ask.levels[place].score) : null;
    };
    const letters = { KeyU: undo };
    if (!saved) Object.assign(letters, { KeyS: () => reasons(at("reasons").hidden), KeyC: () => at("words").focus() });
    const found = act() || letters[event.code]; // the place of the key: the same in both layouts
    if (found) { event.preventDefault(); found(); }
  });

  const begin = async () => {
    take(await ask("/next"), false);
    show();
    root.dataset.ready = "";
  };
  begin();
})();
