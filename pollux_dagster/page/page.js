"use strict";
(() => {
  const PER_PAGE = 5;
  const LOWEST = 0, HIGHEST = 1;
  const said = JSON.parse(document.getElementById("texts").textContent);
  const root = document.documentElement;
  let language = /^ru\b/i.test(navigator.language || "") ? "ru" : "en";

  const t = (key, values = {}) =>
    said[key][language].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

  // Text from outside is only ever set as text. What would move, hide or reorder other text is shown as an escape.
  const visible = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, (c) =>
      c === "\n" || c === "\t" || c === "\u200d" ? c : "\\u{" + c.codePointAt(0).toString(16) + "}");
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = visible(text);
    return made;
  };

  // Language
  const speak = (chosen) => {
    language = chosen;
    root.lang = root.dataset.language = chosen;
    for (const button of document.querySelectorAll("[data-set-language]"))
      button.setAttribute("aria-pressed", String(button.dataset.setLanguage === chosen));
    document.title = document.querySelector(`h1 [lang="${chosen}"]`).textContent;
    if (evidence) { fillFilters(); show(); }
  };
  for (const button of document.querySelectorAll("[data-set-language]"))
    button.addEventListener("click", () => speak(button.dataset.setLanguage));

  // The browser of answers
  let evidence = null;
  const form = document.getElementById("filters");
  const at = (id) => document.getElementById(id);
  const empty = { judge: "", task: "", criterion: "", score: "", result: "", suspicion: "", text: "", order: "difference" };
  let wanted = { ...empty }, chosen = [], page = 0;
  const STATUSES = ["missing", "truncated", "repetition", "unparseable", "off_scale", "context_overflow",
    "refused_by_server", "transport_error"];

  const unpack = async (packed) => {
    await new Promise((painted) => setTimeout(painted)); // the figures can be read meanwhile
    const characters = atob(packed);
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  const options = (name, pairs) => {
    const field = form.elements[name];
    if (!field) return;
    field.replaceChildren(...pairs.map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      return option;
    }));
    field.value = wanted[name];
  };

  const fillFilters = () => {
    options("judge", [["", t("any")], ...evidence.judges.map((judge, i) => [String(i), judge])]);
    options("task", [["", t("any_f")], ...evidence.tasks.map((task, i) => [String(i), task])]);
    options("criterion", [["", t("any")], ...evidence.criteria.map((criterion, i) => [String(i), criterion.name])]);
    options("score", [["", t("any")], ...["lowest", "low_half", "high_half", "highest"].map((key) => [key, t(key)])]);
    options("result", [["", t("any")], ...["ok", "gate", "not_ok", ...STATUSES].map((key) => [key, t(key)])]);
    options("suspicion", [["", t("any")], ["suspected", t("suspected")], ["unsuspected", t("unsuspected")]]);
    options("order", [["difference", t("by_difference")], ["lowest", t("by_lowest")], ["highest", t("by_highest")],
      ["as_is", t("as_is")]]);
    form.elements.text.value = wanted.text;
    fillModels();
  };

  const fillModels = () => {
    at("chosen").replaceChildren(...chosen.map((number) => {
      const item = make("li");
      const remove = make("button", "", "×");
      remove.type = "button";
      remove.setAttribute("aria-label", t("remove", { model: evidence.models[number] }));
      remove.addEventListener("click", () => {
        chosen = chosen.filter((other) => other !== number);
        fillModels(); first();
        at("add").focus();
      });
      item.append(make("span", "", evidence.models[number]), remove);
      return item;
    }));
    const add = at("add");
    const left = evidence.models.map((model, i) => [i, model]).filter(([i]) => !chosen.includes(i));
    add.replaceChildren(...[["", t("choose")], ...left].map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      return option;
    }));
    add.hidden = !left.length;
  };

  // A verdict: [judge, criterion, repeat, status, score, normalized score, words]
  const asksOfVerdict = () => wanted.criterion || wanted.score || wanted.result || wanted.judge !== "";
  const isGate = (verdict) => evidence.criteria[verdict[1]].gate;
  const RESULTS = {
    ok: (verdict) => verdict[3] === "ok",
    not_ok: (verdict) => verdict[3] !== "ok",
    gate: (verdict) => isGate(verdict) && verdict[5] === HIGHEST,
  };
  const SCORES = {
    lowest: (score) => score === LOWEST, low_half: (score) => score < 0.5,
    high_half: (score) => score >= 0.5, highest: (score) => score === HIGHEST,
  };
  const matches = (verdict) =>
    (wanted.judge === "" || verdict[0] === Number(wanted.judge)) &&
    (!wanted.criterion || verdict[1] === Number(wanted.criterion)) &&
    (!wanted.result || (RESULTS[wanted.result] || ((each) => each[3] === wanted.result))(verdict)) &&
    (!wanted.score || (verdict[5] !== null && (wanted.criterion || !isGate(verdict)) && SCORES[wanted.score](verdict[5])));
  const answerMatches = (answer) =>
    (!wanted.suspicion || (wanted.suspicion === "suspected") === (answer.suspicion !== null)) &&
    (!asksOfVerdict() || answer.verdicts.some(matches));
  const holds = (instruction, answers, needle) =>
    [instruction.id, instruction.text, instruction.reference || ""].some((text) => text.toLowerCase().includes(needle)) ||
    answers.some((answer) => answer.text.toLowerCase().includes(needle) ||
      answer.verdicts.some((verdict) => (verdict[6] || "").toLowerCase().includes(needle)));

  const meanOf = (answer) => {
    const judge = wanted.judge === "" ? 0 : Number(wanted.judge);
    const found = answer.means.find(([number]) => number === judge);
    return found ? found[1] : null;
  };
  const means = (answers) => answers.map(meanOf).filter((mean) => mean !== null);
  const ORDERS = {
    difference: (answers) => { const all = means(answers); return all.length ? Math.min(...all) - Math.max(...all) : 1; },
    lowest: (answers) => Math.min(2, ...means(answers)),
    highest: (answers) => -Math.max(-1, ...means(answers)),
    as_is: () => 0,
  };

  const select = () => {
    const needle = wanted.text.trim().toLowerCase();
    const found = [];
    for (const instruction of evidence.instructions) {
      if (wanted.task && instruction.task !== Number(wanted.task)) continue;
      const answers = instruction.answers.filter((answer) => chosen.includes(answer.model));
      if (!answers.some(answerMatches)) continue;
      if (needle && !holds(instruction, answers, needle)) continue;
      found.push([ORDERS[wanted.order](answers), instruction, answers]);
    }
    return found.sort((a, b) => a[0] - b[0]);
  };

  // As staging.scores decides it: a tripped gate makes the other scores of its judge and repetition count as 0.
  const isGated = (answer, verdict) =>
    answer.verdicts.some((other) => other[0] === verdict[0] && other[2] === verdict[2] && RESULTS.gate(other));
  const resultOf = (answer, verdict, max) => {
    if (verdict[3] !== "ok") return [verdict[3] in said ? t(verdict[3]) : verdict[3], true];
    if (isGate(verdict)) return RESULTS.gate(verdict) ? [t("gate"), true] : [t("gate_passed"), false];
    return isGated(answer, verdict) ? [t("of_gated", { score: verdict[4], max }), true] : [t("of", { score: verdict[4], max }), false];
  };
  const drawVerdict = (answer, criterion, verdicts) => {
    const item = make("li", asksOfVerdict() && verdicts.some(matches) ? "match" : "");
    const { name, levels } = evidence.criteria[criterion];
    const max = levels && levels.length ? Math.max(...levels) : "?";
    const own = answer.people.find(([criteriaName]) => criteriaName === name);
    verdicts.forEach((verdict, position) => {
      const [judge, , repeat, , , , words] = verdict;
      const head = make("div", "head");
      const title = make(position ? "span" : "b", "", position ? "" : name);
      const by = [];
      if (evidence.judges.length > 1) by.push(evidence.judges[judge]);
      if (repeat) by.push(t("repeat", { n: repeat }));
      if (by.length) title.append(" ", make("span", "by", by.join(", ")));
      const [result, isBad] = resultOf(answer, verdict, max);
      head.append(title, make("span", isBad ? "bad" : "", result));
      item.append(head);
      if (words) item.append(make("p", "text", words));
    });
    if (own) item.append(make("p", "by", t("people", { scores: own[1].join(", ") })));
    return item;
  };

  const drawAnswer = (answer) => {
    const card = make("section", "answer");
    const head = make("h4", "", evidence.models[answer.model]);
    if (answer.sample) head.append(" ", make("span", "by", t("sample", { n: answer.sample })));
    if (answer.means.length) head.append(make("span", "", evidence.judges.map((_, judge) => {
      const own = answer.means.find(([number]) => number === judge);
      return own ? own[1].toFixed(2) : "–";
    }).join(" / ")));
    card.append(head);
    if (answer.suspicion !== null)
      card.append(make("p", "suspicion", t("suspicion", { reasons: (answer.suspicion || []).join(", ") })));
    card.append(answer.text.trim() ? make("p", "text", answer.text) : make("p", "by", t("empty_answer")));
    if (answer.cut) card.append(make("p", "cut", t("cut", { n: evidence.longest })));
    if (answer.verdicts.some(RESULTS.gate)) card.append(make("p", "suspicion", t("gated_answer")));
    const list = make("ul", "verdicts");
    for (const criterion of new Set(answer.verdicts.map((verdict) => verdict[1])))
      list.append(drawVerdict(answer, criterion, answer.verdicts.filter((verdict) => verdict[1] === criterion)));
    card.append(list, make("p", "where", t("source", { file: answer.file, row: answer.row })));
    return card;
  };

  const part = (title, text) => {
    const made = make("div");
    made.append(make("h4", "", title), make("p", "text", text));
    return made;
  };

  const drawItem = ([, instruction, answers]) => {
    const item = make("article", "item");
    item.append(make("h3", "", `${instruction.id} · ${evidence.tasks[instruction.task]}`));
    const asked = make("div", "asked");
    const question = part(t("instruction"), instruction.text);
    if (instruction.cut) question.append(make("p", "cut", t("cut", { n: evidence.longest })));
    asked.append(question);
    if (instruction.reference) asked.append(part(t("reference"), instruction.reference));
    const beside = make("div", "answers");
    for (const number of chosen) {
      const own = answers.filter((answer) => answer.model === number);
      beside.append(...own.map(drawAnswer));
      if (!own.length) {
        const none = make("section", "answer");
        none.append(make("h4", "", evidence.models[number]), make("p", "by", t("no_answer")));
        beside.append(none);
      }
    }
    item.append(asked, beside);
    return item;
  };

  const show = () => {
    const found = select();
    const from = page * PER_PAGE, to = Math.min(from + PER_PAGE, found.length), all = evidence.instructions.length;
    at("items").replaceChildren(...(found.length ? found.slice(from, to).map(drawItem) : [make("p", "note", t("nothing"))]));
    // What scrolls by itself must be reachable without a mouse.
    for (const text of at("items").querySelectorAll(".text")) if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
    at("found").textContent = t("found", { n: found.length, all });
    at("sampled").hidden = all === evidence.total;
    at("sampled").textContent = t("sampled", { all, total: evidence.total });
    const criterion = wanted.criterion && evidence.criteria[Number(wanted.criterion)];
    at("rubric").hidden = !criterion;
    at("rubric").firstElementChild.textContent = t("rubric");
    at("rubric").lastElementChild.textContent = criterion ? visible(criterion.rubrics || "") : "";
    at("pages").hidden = found.length <= PER_PAGE;
    at("previous").textContent = t("previous");
    at("next").textContent = t("next");
    at("previous").disabled = page === 0;
    at("next").disabled = to >= found.length;
    at("pages").querySelector("span").textContent = t("page", { from: from + 1, to, n: found.length });
  };
  const first = () => { page = 0; show(); };
  const turn = (by) => { page += by; show(); at("answers").scrollIntoView(); at("answers").focus({ preventScroll: true }); };

  // The answers behind a figure: those of the models it is about, or of those that are shown.
  const follow = (link) => {
    const { judge, model, other, task, criterion, gate, result } = link.dataset;
    wanted = { ...empty, judge: evidence.judges.length > 1 ? judge : "", task: task || "", criterion: criterion || gate || "" };
    if (gate) wanted.result = "gate";
    if (result) wanted.result = result;
    wanted.order = other ? "difference" : gate || result ? "as_is" : "lowest";
    if (model) chosen = [model, other].filter((number) => number !== undefined).map(Number);
    fillFilters(); first();
  };

  const listen = () => {
    let waiting = 0;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (!(event.target.name in wanted)) return;
      wanted[event.target.name] = event.target.value;
      clearTimeout(waiting);
      waiting = setTimeout(first, event.target.name === "text" ? 200 : 0);
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      wanted = { ...empty }; chosen = evidence.models.map((_, i) => i).slice(0, 2);
      fillFilters(); first();
    });
    at("add").addEventListener("change", (event) => {
      if (event.target.value === "") return;
      chosen = [...chosen, Number(event.target.value)];
      fillModels(); first();
      (at("add").hidden ? at("chosen").querySelector("button") : at("add")).focus();
    });
    at("previous").addEventListener("click", () => turn(-1));
    at("next").addEventListener("click", () => turn(1));
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-judge]");
      if (link) { follow(link); at("answers").focus({ preventScroll: true }); }
    });
  };

  addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details:not(.sql)")) each.open = true; });
  speak(language);
  if (form) {
    const unpacked = typeof DecompressionStream === "undefined" ? Promise.reject(new Error("no DecompressionStream"))
      : unpack(at("evidence").textContent);
    unpacked.then((found) => {
      evidence = found;
      chosen = evidence.models.map((_, i) => i).slice(0, 2);
      listen(); fillFilters(); show();
      root.dataset.ready = "";
    }, () => { at("found").textContent = t("old_browser"); });
  }
})();
