// The page: the list of deliveries, the details of a delivery, and the actions on it.
// What a delivery contains is untrusted text. It enters the document only as text, never as HTML.

const SHOWN_CHARACTERS = 100_000; // of a body; more makes the browser slow
const OPTIONS = 100; // of a filter
const ANNOUNCE_EVERY = 5000; // milliseconds
const FEEDBACK_FOR = 3000; // milliseconds
const FEEDBACK_PER_CHARACTER = 100; // milliseconds more, for people who read or copy it
const RETRY = 2000; // milliseconds

const $ = (id) => document.getElementById(id);
const list = $("list");

const records = new Map(); // by id
let frozen = null; // during a pause, the records at its start
let shown = []; // the records that pass the filters, newest first
let active = null; // id of the record that the arrow keys have reached
let opened = null; // the record in the details
let info = { title: "OpenAI webhooks", url: null, types: [], samples: {}, actions: [] };

// --- Text ---

// Control characters, directions of text, and halves of a character. They are invisible or mislead, and terminals obey
// some of them.
const INVISIBLE = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;
const JSON_TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/gs;
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const visible = (text) =>
  text.replace(INVISIBLE, (c) => ("\n\t".includes(c) ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`));
const milliseconds = (value) => (value == null ? "" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);

// Indents the text of a JSON value. Parsing and printing would change large numbers and repeated keys.
function indented(json) {
  try {
    JSON.parse(json);
  } catch {
    return json;
  }
  let text = "";
  let depth = 0;
  let previous = "";
  for (const [token] of json.matchAll(JSON_TOKEN)) {
    const closes = token === "}" || token === "]";
    const isFirst = previous === "{" || previous === "[";
    depth -= closes;
    if (closes ? !isFirst : isFirst || previous === ",") text += `\n${"  ".repeat(Math.min(depth, 40))}`;
    text += token === ":" ? ": " : token;
    depth += token === "{" || token === "[";
    previous = token;
    if (text.length > SHOWN_CHARACTERS) break;
  }
  return text;
}

function stringified(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return "too deep to show"; // JSON.parse has no limit of depth, JSON.stringify has one
  }
}

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return node;
}

function button(text, about) {
  const node = element("button", "", text);
  node.type = "button";
  node.setAttribute("aria-label", visible(`${text}: ${about}`));
  return node;
}

// --- The list ---

const level = ({ status }) => (status == null ? "" : status < 300 ? "ok" : status === 409 ? "warn" : "bad");
const isGood = (status) => status != null && status < 400; // of a forward; without an answer there is no status
const isFunction = (target) => !target.endsWith(")"); // another target says what it is: "Orders (SQS)"
const isOfBus = (target) => /\((logs|events)\b[^()]*\)$/.test(target); // the bus's own log and archive take all events

// The newest run of each subscriber, failures first, and the targets of matching rules without a run.
function newestRuns({ subscribers = [], rules = [] }) {
  const targets = rules.flatMap((rule) => (rule.matched ? rule.targets.filter((target) => !isOfBus(target)) : []));
  const runs = [...targets.map((name) => ({ name })), ...subscribers];
  const newest = [...new Map(runs.map((run) => [run.name, run])).values()];
  return newest.sort((a, b) => (b.ok === false) - (a.ok === false));
}

const failed = (record) =>
  newestRuns(record).some(({ ok }) => ok === false) || (record.forwards ?? []).some(({ status }) => !isGood(status));

function reached(record) {
  const { reason, status, subscribers, forwards = [] } = record;
  if (reason) return reason;
  const state = ({ name, ok }) => (ok === false ? " failed" : ok == null && isFunction(name) ? " …" : "");
  const parts = newestRuns(record).map((run) => run.name + state(run));
  parts.push(...forwards.map(({ url, status: answer }) => `${url} ${answer ?? "no answer"}`));
  if (!parts.length && subscribers && !(status >= 300)) return "no subscriber";
  return parts.join(", ");
}

const searchTexts = new WeakMap();
function searchText(record) {
  if (!searchTexts.has(record)) {
    const rules = record.rules?.filter(({ matched }) => matched); // the other rules name types of other events
    searchTexts.set(record, `${stringified({ ...record, rules, body: null })}\n${record.body ?? ""}`.toLowerCase());
  }
  return searchTexts.get(record);
}

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    refresh();
  });
}

function refresh() {
  const [text, type, outcome] = ["text", "type", "outcome"].map((name) => $(`filter-${name}`).value);
  const all = [...(frozen ?? records).values()].sort((a, b) => b.id - a.id);
  const matches = (record) =>
    (!type || record.event_type === type) &&
    (!outcome || (outcome === "failed" ? failed(record) : record.outcome === outcome)) &&
    (!text || searchText(record).includes(text.toLowerCase()));

  // Someone who has scrolled down keeps looking at the same rows while new ones arrive above.
  const height = rowHeight();
  const first = Math.floor(list.scrollTop / height);
  const anchor = first > 0 ? shown[first]?.id : undefined;
  shown = all.filter(matches);
  $("canvas").style.height = `${shown.length * height}px`;
  const moved = anchor === undefined ? -1 : shown.findIndex(({ id }) => id <= anchor);
  if (moved >= 0) list.scrollTop += (moved - first) * height;

  const count = shown.length === all.length ? `${all.length}` : `${shown.length} of ${all.length}`;
  $("count").textContent = `${count} ${all.length === 1 ? "delivery" : "deliveries"}`;
  $("empty").textContent = all.length ? "No delivery matches the filters." : "No deliveries yet.";
  $("empty").hidden = shown.length > 0;
  list.hidden = shown.length === 0;
  const waiting = frozen ? [...records.keys()].filter((id) => !frozen.has(id)).length : 0;
  $("pause").textContent = frozen ? (waiting ? `Resume (${waiting} new)` : "Resume") : "Pause";
  draw();
}

function rowHeight() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return parseFloat(getComputedStyle(list).getPropertyValue("--row")) * rem;
}

// Keeps in the document only the rows that can be seen, and a few around them.
function draw() {
  const canvas = $("canvas");
  const height = rowHeight();
  const first = Math.max(0, Math.floor(list.scrollTop / height) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / height) + 10);
  while (canvas.childElementCount > Math.max(0, last - first)) canvas.lastChild.remove();
  while (canvas.childElementCount < last - first) canvas.append(newRow());
  for (let index = first; index < last; index += 1) fill(canvas.children[index - first], index, height);
  list.removeAttribute("aria-activedescendant");
  if ($(`record-${active}`)) list.setAttribute("aria-activedescendant", `record-${active}`);
}

function newRow() {
  const cells = ["time", "type", "status", "outcome", "duration", "reached"].map((name) => element("span", name));
  const row = element("div", "row", ...cells);
  row.setAttribute("role", "option");
  return row;
}

function fill(row, index, height) {
  const record = shown[index];
  row.style.transform = `translateY(${index * height}px)`;
  row.setAttribute("aria-posinset", index + 1);
  row.setAttribute("aria-setsize", shown.length);
  row.setAttribute("aria-selected", record.id === active);
  if (row.record === record) return;
  row.record = record;
  row.id = `record-${record.id}`;
  const texts = [
    CLOCK.format(record.time * 1000),
    record.event_type ?? "?",
    `${record.status ?? ""}`,
    record.outcome ?? "",
    milliseconds(record.duration_ms),
    reached(record),
  ];
  texts.forEach((text, cell) => (row.children[cell].textContent = visible(String(text).slice(0, 500))));
  row.children[2].className = `status ${level(record)}`;
  row.classList.toggle("failed", failed(record));
}

function moveTo(index) {
  if (!shown.length) return;
  index = Math.max(0, Math.min(index, shown.length - 1));
  active = shown[index].id;
  const height = rowHeight();
  const top = index * height;
  list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + height - list.clientHeight));
  if (opened) open(shown[index]);
  draw();
}

function addOption(select, value) {
  // Anyone who can send a delivery can invent types.
  if (!value || select.length >= OPTIONS || [...select.options].some((option) => option.value === value)) return;
  select.add(new Option(visible(String(value).slice(0, 100)), value));
}

// --- The details ---

function open(record) {
  opened = record;
  document.querySelector("main").classList.add("open");
  $("details").hidden = false;
  $("details").scrollTop = 0;
  showDetails();
}

function close() {
  opened = null;
  document.querySelector("main").classList.remove("open");
  $("details").hidden = true;
  list.focus();
}

function showDetails() {
  const { event_type, status, outcome, reason, duration_ms, event_id, webhook_id, headers, body, bus_event } = opened;
  $("details-title").textContent = visible(event_type ?? "?");
  for (const node of $("actions").querySelectorAll("[data-needs]")) node.hidden = !available(node.dataset.needs);
  const facts = element("dl");
  const fact = (name, value, className) => {
    if (value) facts.append(element("dt", "", name), element("dd", className, value));
  };
  fact("Answer", [status, outcome].filter(Boolean).join(" "), level(opened));
  fact("Reason", reason);
  fact("Time", new Date(opened.time * 1000).toLocaleString());
  fact("Answered in", milliseconds(duration_ms));
  fact("Event id", event_id, "id");
  fact("webhook-id", webhook_id, "id");
  const parts = [facts];
  if (opened.subscribers) parts.push(element("h3", "", "Subscribers"), ...subscriberRuns());
  if (opened.rules) parts.push(element("h3", "", "Rules"), element("ul", "rules", ...opened.rules.map(rule)));
  if (opened.forwards?.length) parts.push(element("h3", "", "Forwarded to"), ...opened.forwards.map(forward));
  if (body != null) parts.push(...block("Body", body, indented(body)));
  const busEvent = stringified(bus_event); // undefined if there is none
  if (busEvent) parts.push(...block("Event on the bus", busEvent, indented(busEvent)));
  const lines = Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`);
  if (headers) parts.push(...block("Headers", lines.join("\n")));
  const focused = $("content").contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  $("content").replaceChildren(...parts);
  const same = [...$("content").querySelectorAll("button")].find((node) => node.getAttribute("aria-label") === focused);
  same?.focus({ preventScroll: true });
}

// All runs of the subscribers. Those of one subscriber are together, in their order.
function subscriberRuns() {
  const subscribers = newestRuns(opened).filter(({ name, ok }) => ok != null || isFunction(name));
  if (!subscribers.length) return [element("p", "hint", "No function received this event.")];
  return subscribers.flatMap((newest) => {
    const runs = opened.subscribers.filter(({ name }) => name === newest.name);
    let number = 0; // a retry is not a run of its own
    return (runs.length ? runs : [newest]).map((run) => {
      number += (run.attempt ?? 1) === 1;
      return subscriberRun(run, number, run === newest);
    });
  });
}

function subscriberRun({ name, attempt, ok, duration_ms, result, log }, number, isNewest) {
  const [className, text] = ok == null ? ["hint", "running"] : ok ? ["ok", "succeeded"] : ["failed", "failed"];
  const notes = [number > 1 && `run ${number}`, attempt > 1 && `attempt ${attempt}`].filter(Boolean);
  const parts = [element("span", className, text), element("span", "hint", notes.join(", "))];
  parts.push(element("span", "duration", milliseconds(duration_ms)));
  if (isNewest && ok != null && opened.bus_event && info.actions.includes("run_again")) {
    const again = button("Run again", name);
    Object.assign(again.dataset, { needs: "run_again", subscriber: name });
    parts.push(again);
  }
  const rules = (opened.rules ?? []).filter(({ matched, targets }) => matched && targets.includes(name));
  const texts = { Result: result, Log: log?.join("\n") };
  return outcomeOf(name, parts, texts, rules.length && `Rule: ${rules.map((match) => match.rule).join(", ")}`);
}

function rule({ rule: name, targets, matched, reason }) {
  const text = matched ? `matched, to ${targets.join(", ") || "no target"}` : reason.slice(0, 500);
  return element("li", matched ? "ok" : "hint", element("span", "name", name), `: ${text}`);
}

function forward({ url, status, ms, text }) {
  const state = element("span", isGood(status) ? "ok" : "failed", `${status ?? "no answer"}`);
  return outcomeOf(url, [state, element("span", "duration", milliseconds(ms))], { Answer: text });
}

function outcomeOf(name, parts, texts, hint) {
  const line = element("p", "", element("span", "name", name), ...parts);
  const outputs = Object.entries(texts).filter(([, text]) => text);
  const blocks = outputs.flatMap(([label, text]) => [element("p", "label", label), pre(text)]);
  return element("div", "subscriber", line, ...(hint ? [element("p", "label", hint)] : []), ...blocks);
}

const pre = (text) => element("pre", "", text.slice(0, SHOWN_CHARACTERS));

function block(title, text, formatted = text) {
  const copy = button("Copy", title);
  copy.addEventListener("click", () => copyText(text, `${title}: copied.`));
  const parts = [element("div", "block-heading", element("h3", "", title), copy), pre(formatted)];
  if (formatted.length > SHOWN_CHARACTERS) parts.push(element("p", "hint", "This is only the start. Copy takes all."));
  return parts;
}

// --- Actions ---

function available(action) {
  const isDelivery = opened.kind === "delivery" && opened.headers && opened.body != null;
  if (action === "curl") return info.url && isDelivery;
  return info.actions.includes(action) && (action === "forward_again" || isDelivery);
}

async function run(action, input) {
  const newest = Math.max(0, ...records.keys());
  const response = await fetch(`/page/actions/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(input),
  }).catch(() => {
    throw new Error("Got no answer. The command that serves this page has stopped. Start it again.");
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error ?? `The action failed (${response.status}). The terminal shows why.`);
  if (answer?.webhook_id) {
    sent = { webhook_id: answer.webhook_id, newest };
    records.forEach(openSent);
  }
  return answer;
}

let sent = null; // the delivery that the page has sent last, until its record is here
function openSent(record) {
  if (!sent || record.webhook_id !== sent.webhook_id || record.id <= sent.newest) return;
  sent = null;
  active = record.id;
  list.scrollTop = 0;
  open(record);
  schedule();
}

const DONE = {
  send_as_new: () => "Sent as a new event.",
  send_again: () => "Sent again, with the same webhook-id.",
  run_again: (_, { subscriber }) => `${subscriber} runs again.`,
  forward_again: () => "Forwarded again.",
  save: ({ path }) => `Saved as ${path}. Run: sam local invoke ReceiverFunction -e ${path}`,
  tamper: () => "Sent with a wrong part. The receiver must reject it.",
};

async function act({ target }) {
  const { needs: action, ...input } = target.closest("button")?.dataset ?? {};
  if (!action) return;
  if (action === "curl") {
    copyText(curl(opened), "Copied. The receiver accepts the signature for 5 minutes after its timestamp.");
    return;
  }
  try {
    feedback(DONE[action](await run(action, { record_id: opened.id, ...input }), input));
  } catch (error) {
    feedback(error.message);
  }
}

// In quotes for bash and zsh. A pasted control character would act as a key, so it becomes an escape.
function quoted(text) {
  const hex = (byte) => `\\x${byte.toString(16).padStart(2, "0")}`;
  const bytes = (c) => [...new TextEncoder().encode(c)].map(hex).join("");
  const escaped = text.replace(/[\\']/g, "\\$&").replace(INVISIBLE, bytes).replaceAll("!", "\\x21");
  return text.search(/['!]/) < 0 && text.search(INVISIBLE) < 0 ? `'${text}'` : `$'${escaped}'`;
}

function curl({ headers, body }) {
  // curl sets these itself. A name that is no token could be an option or a file for curl.
  const skipped = /^(host|content-length|connection|transfer-encoding|accept-encoding|expect)$/i;
  const copied = Object.entries(headers).filter(([name]) => /^[\w!#$%&'*+.^`|~-]+$/.test(name) && !skipped.test(name));
  const options = copied.map(([name, value]) => `-H ${quoted(value ? `${name}: ${value}` : `${name};`)}`);
  // Unlike --data-binary, --data-raw does not read a file if the body starts with @.
  return ["curl", quoted(info.url), ...options, `--data-raw ${quoted(body)}`].join(" \\\n  ");
}

async function copyText(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    feedback(done);
  } catch {
    feedback("The browser does not allow the page to copy.");
  }
}

let feedbackTimer;
function feedback(text) {
  $("feedback").textContent = visible(text);
  clearTimeout(feedbackTimer);
  const shownFor = FEEDBACK_FOR + text.length * FEEDBACK_PER_CHARACTER;
  feedbackTimer = setTimeout(() => ($("feedback").textContent = ""), shownFor);
}

let sample = ""; // the text of the sample in the form
function showSample() {
  const data = info.samples[$("send-type").value.trim()];
  const text = data ? JSON.stringify(data, null, 2) : "";
  const field = $("send-data");
  // Types with the same sample keep what was typed, and so does a type without a sample.
  if (text === sample || (!text && field.value !== sample)) return;
  field.value = sample = text;
}

async function send(event) {
  event.preventDefault();
  $("send-error").textContent = "";
  try {
    const text = $("send-data").value.trim();
    const data = text ? JSON.parse(text) : undefined;
    if (text && (data === null || typeof data !== "object" || Array.isArray(data))) throw new SyntaxError();
    await run("send", { event_type: $("send-type").value.trim(), data });
    $("send").close();
    feedback("Sent.");
  } catch (error) {
    const notObject = 'The fields are not a JSON object. Write them as {"id": "batch_7"}.';
    $("send-error").textContent = error instanceof SyntaxError ? notObject : visible(error.message);
  }
}

function togglePause() {
  frozen = frozen ? null : new Map(records);
  $("pause").setAttribute("aria-pressed", Boolean(frozen));
  schedule();
}

// --- The stream ---

let source = null;
let instance = null; // of the server; another one has other records
let limit = Infinity; // of records
let seenVersion = 0; // what is older was there before this connection

function connect() {
  source?.close();
  source = new EventSource("/page/events");
  source.addEventListener("hello", hello);
  source.addEventListener("message", ({ data, lastEventId }) => receive(JSON.parse(data), Number(lastEventId)));
  source.addEventListener("error", () => {
    showConnection("off", "Not connected. Trying again.");
    // A browser gives up after some errors.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  });
}

async function hello({ data }) {
  const current = JSON.parse(data);
  ({ limit, version: seenVersion } = current);
  if (instance && instance !== current.instance) {
    forget();
    connect(); // the browser asked this stream for what is newer than an event of the old instance
    return;
  }
  if (!instance) await loadInfo(); // if it fails, the next connection tries again
  instance = current.instance;
  if (source.readyState === EventSource.OPEN) showConnection("on", "Connected");
}

function forget() {
  instance = null;
  active = null;
  records.clear();
  if (opened) close();
  if (frozen) togglePause();
  schedule();
}

function receive(record, version) {
  for (const name in record) if (record[name] === null) delete record[name];
  if (version > seenVersion && !records.has(record.id)) unannounced += 1;
  records.set(record.id, record);
  openSent(record);
  if (records.size > limit) records.delete(records.keys().next().value);
  addOption($("filter-outcome"), record.outcome);
  addOption($("filter-type"), record.event_type);
  if (opened?.id === record.id && !frozen?.has(record.id)) {
    opened = record;
    showDetails();
  }
  schedule();
}

function showConnection(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

async function loadInfo() {
  info = { ...info, ...(await (await fetch("/page/info")).json()) };
  document.title = info.title;
  $("title").textContent = info.title;
  $("url").textContent = info.url ?? "";
  $("send-open").hidden = !info.actions.includes("send");
  $("types").replaceChildren(...info.types.map((type) => new Option(type)));
  for (const type of info.types) addOption($("filter-type"), type);
}

let unannounced = 0;
setInterval(() => {
  if (unannounced) $("announcement").textContent = `New deliveries: ${unannounced}`;
  unannounced = 0;
}, ANNOUNCE_EVERY);

// --- Keys and clicks ---

function showDialog(id) {
  if (!$("send").open && !$("help").open) $(id).showModal();
}

const KEYS = {
  "/": () => $("filter-text").focus(),
  "?": () => showDialog("help"),
  p: togglePause,
  s: () => info.actions.includes("send") && showDialog("send"),
};
const position = () => shown.findIndex(({ id }) => id === active);
const pageRows = () => Math.max(1, Math.floor(list.clientHeight / rowHeight()) - 1);
const MOVES = {
  ArrowDown: () => position() + 1,
  ArrowUp: () => Math.max(position(), 0) - 1,
  PageDown: () => position() + pageRows(),
  PageUp: () => position() - pageRows(),
  Home: () => 0,
  End: () => shown.length - 1,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { key, target } = event;
  const isInput = target.matches("input, select, textarea");
  if (key === "Escape") {
    if (target.id === "filter-text" && target.value) target.value = "";
    else if (opened) close();
    else {
      target.blur(); // an empty list cannot get the focus
      list.focus();
    }
    schedule();
  } else if (isInput && !(key === "Enter" && target.id === "filter-text")) {
    return;
  } else if (key in KEYS) {
    KEYS[key]();
  } else if (key in MOVES && (target === list || target === document.body)) {
    list.focus();
    moveTo(MOVES[key]());
  } else if (key === "Enter" && target === list && position() >= 0) {
    open(shown[position()]);
    $("details-title").focus();
  } else if (key === "Enter" && isInput) {
    list.focus();
  } else {
    return;
  }
  event.preventDefault();
});

list.addEventListener("click", ({ target }) => {
  const row = target.closest(".row");
  if (!row) return;
  active = row.record.id;
  open(row.record);
  draw();
});
list.addEventListener("scroll", draw);
new ResizeObserver(schedule).observe(list);
for (const name of ["text", "type", "outcome"]) $(`filter-${name}`).addEventListener("input", schedule);
$("pause").addEventListener("click", togglePause);
$("help-open").addEventListener("click", () => showDialog("help"));
$("send-open").addEventListener("click", () => showDialog("send"));
$("send-type").addEventListener("input", showSample);
$("send-form").addEventListener("submit", send);
$("details-close").addEventListener("click", close);
$("details").addEventListener("click", act);
for (const button of document.querySelectorAll("[data-closes]")) {
  button.addEventListener("click", () => $(button.dataset.closes).close());
}
connect();
