// SPDX-License-Identifier: Apache-2.0
//
// Draws the report. All text of the report reaches the page as text nodes and
// attributes, never as markup, because a device or a file may have chosen it.
'use strict';

const byId = (id) => document.getElementById(id);
const report = JSON.parse(byId('report-data').textContent);
const timeline = JSON.parse(byId('timeline-data').textContent);

// What went wrong in this script, for the self-test.
const errors = [];
window.addEventListener('error', (event) => errors.push(event.message));

// element('td', {class: 'number'}, 'text', child) makes an element of HTML, and
// svg() one of SVG.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.filter((child) => child !== undefined));
  return node;
}
const element = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes,
       children);

const hex = (value) => '0x' + BigInt(value || 0).toString(16);
const padded = (value, digits) =>
  Number(value || 0).toString(16).padStart(digits, '0');
const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

function size(bytes) {
  let value = Number(bytes);
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1024 || value % 1024 !== 0) return `${value} ${unit}`;
    value /= 1024;
  }
  return `${value} PiB`;
}

function table(id, header, rows) {
  const head = element('tr', {}, ...header.map((text, i) =>
    element('th', {class: i === 0 ? undefined : 'number'}, text)));
  byId(id).replaceChildren(element('thead', {}, head),
                           element('tbody', {}, ...rows));
}

// --- The whole report

const waits = (call) => call === 'KVM_RUN' || call === 'epoll_wait';
const sum = (counts) => Object.entries(counts || {})
  .filter(([name]) => !waits(name))
  .reduce((total, [, count]) => total + Number(count), 0);
const devices = report.devices || [];
const phases = report.phases || [];
const leftovers = (report.teardown && report.teardown.leftovers) || [];
const problems = report.problems || [];
const source = report.source || {};
const program = source.program || '';

// What ran, on what.
function sourceText() {
  const kernel = source.simulated
    ? `a simulated ${source.kernel || 'host'}` : 'this machine’s kernel';
  if (program === 'passthrough_vm') {
    return source.simulated
      ? 'Passed through to a VM of passthrough_vm. The devices are simulated.'
      : 'Passed through to a VM of passthrough_vm, on real hardware.';
  }
  if (program === 'passthrough_regression') {
    return `A regression run of the captured device on ${kernel}.`;
  }
  return source.simulated
    ? `Passed through to a guest on ${kernel}.`
    : `Passed through to a guest on real hardware, by ${kernel}.`;
}

// The numbers at the top, each with what it counts. The third part says whether
// 0 is what one hopes for.
function tiles() {
  const total = (counts) =>
    phases.reduce((all, phase) => all + sum(phase[counts]), 0);
  const vectors = devices.flatMap((one) => one.vectors || []);
  const count = (field) =>
    vectors.reduce((all, vector) => all + Number(vector[field] || 0), 0);
  const all = [
    [total('exits'), 'exits in the whole run'],
    [total('kernel_calls'), 'kernel calls of the VMM in the whole run'],
  ];
  const again = phases.find((phase) => phase.name === 'work again');
  if (again) {
    all.unshift(
      [sum(again.exits), 'exits in the steady state (phase “work again”)', true],
      [sum(again.kernel_calls),
       'kernel calls of the VMM in the steady state', true]);
  }
  if (program === 'passthrough_vm') {
    const console = phases.reduce((all, phase) =>
      all + Number((phase.exits || {})['serial console'] || 0), 0);
    all.push([console, 'of the exits by the serial console']);
  }
  all.push(count('taken') === 0 && count('raised') !== 0
    ? [count('raised'), 'interrupts raised by the devices']
    : [count('taken'), 'interrupts taken by the guest']);
  if (program !== 'passthrough_demo') {
    all.push([devices.reduce((all, one) => all + (one.degraded || []).length, 0),
              'parts of devices that are slower or do not work', true]);
  }
  if (report.teardown) {
    all.push([leftovers.length, 'kernel resources left behind', true]);
  }
  if (problems.length !== 0) all.unshift([problems.length, 'problems', true]);
  return all;
}

function drawHeader() {
  const names = devices.map((one) => one.device.identity || one.device.host_bdf);
  byId('title').textContent =
    names.length === 1 ? names[0] : plural(names.length, 'device');
  document.title = `${byId('title').textContent} - passthru report`;
  byId('source').textContent = sourceText();
  byId('problems').replaceChildren(...problems.map((problem) =>
    element('li', {class: 'bad'}, problem)));
  byId('tiles').replaceChildren(...tiles().map(([count, what, zeroIsGood]) =>
    element('li', {}, element('b', {
      class: !zeroIsGood ? undefined : count === 0 ? 'good' : 'warn',
    }, String(count)),
            element('span', {}, what))));

  const links = devices.map((one, i) => [`device-${i}`, one.device.host_bdf]);
  links.push(['timeline-section', 'Timeline'], ['counts-section', 'Counts']);
  if (report.teardown) links.push(['left-section', 'Left behind']);
  if (report.transcript) links.push(['transcript-section', 'Transcript']);
  byId('nav').replaceChildren(...links.map(([id, text]) =>
    element('a', {href: `#${id}`}, text)));
}

function drawCounts(id, counts) {
  const header = ['', 'all', ...phases.map((phase) => phase.name)];
  const kinds = new Set(phases.flatMap((phase) =>
    Object.keys(phase[counts] || {}).filter((name) => !waits(name))));
  const values = [...kinds].sort().map((name) =>
    [name, phases.map((phase) => Number((phase[counts] || {})[name] || 0))]);
  const most = Math.max(1, ...values.flatMap(([, row]) => row));
  const cell = (count) => element('td', {
    class: 'number',
    style: count === 0 ? undefined
      : `background: rgba(var(--heat), ${0.06 + 0.34 * count / most})`,
  }, count === 0 ? '·' : String(count));
  const total = (row) => row.reduce((a, b) => a + b, 0);
  const rows = values.map(([name, row]) =>
    element('tr', {}, element('td', {class: 'mono'}, name),
            element('td', {class: 'number'}, String(total(row))),
            ...row.map(cell)));
  const sums = phases.map((phase) => sum(phase[counts]));
  rows.push(element('tr', {}, element('th', {}, 'all'),
                    ...[total(sums), ...sums].map((count) =>
                      element('th', {class: 'number'}, String(count)))));
  table(id, header, rows);
}

function drawTranscript() {
  byId('transcript-section').hidden = !report.transcript;
  byId('transcript').textContent = report.transcript || '';
}

function drawLeftovers() {
  byId('left-section').hidden = !report.teardown;
  byId('leftovers').replaceChildren(leftovers.length === 0
    ? element('p', {class: 'good'},
              'Nothing: no descriptor, mapping, memory slot, irqfd, route or ' +
              'DMA mapping.')
    : element('ul', {class: 'bad'}, ...leftovers.map((what) =>
        element('li', {}, what))));
}

// --- One device

const barName = (bar) => bar.index === 6 ? 'ROM' : `BAR${bar.index}`;

// The BARs by guest address, from low to high. The heights are not to scale,
// because sizes range from bytes to gigabytes.
function addressMap(bars) {
  const kWidth = 1180;
  const kRow = 46;
  const parts = [];
  let y = 6;
  const byAddress = [...bars].sort((a, b) =>
    BigInt(a.address) < BigInt(b.address) ? -1 : 1);
  for (const bar of byAddress) {
    const areas = bar.areas || [];
    const flags = bar.prefetchable ? ' prefetchable' : '';
    parts.push(svg('text', {x: 0, y: y + 14, 'font-weight': 600}, barName(bar)));
    parts.push(svg('text', {x: 52, y: y + 14, class: 'soft'},
                   `${bar.type}${flags}, ${size(bar.size)}`));
    if (Number(bar.moved_from) !== 0) {
      parts.push(svg('rect', {x: 560, y: y, width: 390, height: 20, rx: 4,
                              class: 'ghost'}));
      parts.push(svg('text', {x: 570, y: y + 14.5, class: 'mono soft'},
                     `moved here from ${hex(bar.moved_from)}`));
    }
    y += 26;
    for (const area of areas) {
      const kind = area.mapped ? 'mapped' : 'trapped';
      const start = BigInt(bar.address) + BigInt(area.offset);
      parts.push(svg('text', {x: 0, y: y + 19, class: 'mono'}, hex(start)));
      parts.push(svg('rect', {x: 190, y: y, width: 300, height: kRow - 14,
                              rx: 4, class: kind}));
      parts.push(svg('text', {x: 202, y: y + 20, class: 'mono'},
                     `+${hex(area.offset)}  ${size(area.size)}`));
      parts.push(svg('text', {x: 510, y: y + 20},
                     area.mapped
                       ? 'mapped: the guest reaches the device without an exit'
                       : `trapped: ${area.reason}`));
      y += kRow - 8;
    }
    if (areas.length === 0) {
      parts.push(svg('text', {x: 190, y: y + 16, class: 'soft'},
                     `at ${hex(bar.address)}`));
      y += 26;
    }
    y += 12;
  }
  return svg('svg', {viewBox: `0 0 ${kWidth} ${y}`, width: kWidth, role: 'img',
                     'aria-label': 'Address map'}, ...parts);
}

// The way of each vector's interrupts, which depends on its state
// (interrupts::VectorState).
function pathPicture(vectors) {
  const kWidth = 1180;
  const kRow = 44;
  const parts = [];
  let y = 4;
  for (const vector of vectors) {
    const kernel = vector.state === 'Active';
    const gsi = vector.has_gsi ? `GSI ${vector.gsi}` : 'no GSI';
    const nodes = [[`vector ${vector.index}`, 86], ['eventfd', 76]];
    if (kernel) {
      nodes.push(['irqfd', 66], [gsi, 76]);
    } else if (vector.state === 'Masked') {
      nodes.push(['its count is the pending bit', 200]);
    } else if (vector.state === 'Watched') {
      nodes.push(['event loop, KVM_SIGNAL_MSI', 200]);
    } else {
      nodes.push(['off, nothing is armed', 200]);
    }
    nodes.push([`${hex(vector.message_address)} data ` +
                `${hex(vector.message_data)}`, 196]);
    const line = kernel ? 'kernel' : 'user';
    let x = 0;
    nodes.forEach(([text, width], i) => {
      if (i !== 0) {
        parts.push(svg('path', {class: line,
                                d: `M${x} ${y + 15}H${x + 20}`}));
        parts.push(svg('path', {class: `${line}-tip`,
                                d: `M${x + 26} ${y + 15}l-8 -4v8z`}));
        x += 26;
      }
      parts.push(svg('rect', {x: x, y: y, width: width, height: 30, rx: 6,
                              class: 'node'}));
      parts.push(svg('text', {x: x + width / 2, y: y + 19.5,
                              'text-anchor': 'middle'}, text));
      x += width;
    });
    const fromUser = Number(vector.from_user_space);
    const raised = Number(vector.raised);
    parts.push(svg('text', {x: x + 16, y: y + 13},
                   (raised !== 0 && Number(vector.taken) === 0
                     ? `${raised} raised` : `${vector.taken} taken`) +
                   (fromUser ? `, ${fromUser} from user space` : '')));
    parts.push(svg('text', {x: x + 16, y: y + 29, class: 'soft'},
                   vector.handler || `state ${vector.state}`));
    y += kRow;
  }
  return svg('svg', {viewBox: `0 0 ${kWidth} ${Math.max(y, 10)}`,
                     width: kWidth, role: 'img',
                     'aria-label': 'Interrupt paths'}, ...parts);
}

// The pictures of the vectors in use, and how many are not.
function interruptPaths(vectors) {
  const kShown = 12;
  const kMost = 512;
  const used = vectors.filter((vector) =>
    vector.state !== 'Off' || Number(vector.taken) !== 0 ||
    Number(vector.raised) !== 0);
  const parts = [pathPicture(used.slice(0, kShown))];
  const more = used.slice(kShown, kMost);
  if (more.length !== 0) {
    parts.push(element('details', {},
      element('summary', {}, `${plural(more.length, 'more vector')} in use`),
      pathPicture(more)));
  }
  const notes = [];
  if (used.length > kMost) {
    notes.push(`${plural(used.length - kMost, 'vector')} in use are not drawn.`);
  }
  const unused = vectors.length - used.length;
  if (unused > 0) {
    notes.push(`${plural(unused, 'unused vector')} took no host vector, no ` +
               'eventfd and no route.');
  }
  if (vectors.length === 0) {
    notes.push('The guest used no message vectors.');
  }
  parts.push(element('p', {class: 'note'}, notes.join(' ')));
  return parts;
}

// A heading and a list, or nothing if it is empty.
function lineList(title, lines) {
  if (!lines || lines.length === 0) return [];
  return [element('h3', {}, title),
          element('ul', {class: 'warn mono'},
                  ...lines.map((line) => element('li', {}, line)))];
}

const treatments = {passed: 'good', virtualized: 'warn', hidden: 'bad'};

function capabilityRow(capability) {
  return element('tr', {},
    element('td', {class: 'mono'}, padded(capability.offset, 2)),
    element('td', {}, capability.name),
    element('td', {}, element('span', {
      class: `badge ${treatments[capability.treatment] || 'plain'}`,
    }, capability.treatment)),
    element('td', {class: 'mono'},
            (capability.decoded || '').replace(/^[0-9a-f]+: /, '')),
    element('td', {class: 'note'}, capability.reason || ''));
}

function drawDevice(one, i) {
  const device = one.device;
  const facts = [
    ['host', device.host_bdf],
    ['guest', device.guest_bdf],
    ['IOMMU group', String(device.iommu_group)],
    ['configuration', `the shadow answered ${device.config_reads_from_shadow} ` +
      `reads and ${device.config_writes_to_shadow} writes, the device ` +
      `${device.config_reads_from_device} and ` +
      `${device.config_writes_to_device}`],
  ];
  if (Number(device.vendor_id) !== 0) {
    facts.push(['IDs', `${padded(device.vendor_id, 4)}:` +
                       `${padded(device.device_id, 4)}, ` +
                       `class ${padded(device.class_code, 6)}`]);
  }
  if (device.fixture) facts.push(['hardware as in', device.fixture]);
  const capabilities = one.capabilities || [];
  return element('section', {id: `device-${i}`},
    element('h2', {}, `${device.host_bdf}  ${device.identity}`),
    element('dl', {class: 'facts'}, ...facts.map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))),
    element('h3', {}, 'Address map, by guest address'),
    (one.bars || []).length === 0
      ? element('p', {class: 'note'}, 'The guest placed no BAR.')
      : addressMap(one.bars),
    element('h3', {}, 'The path of each interrupt'),
    ...interruptPaths(one.vectors || []),
    ...lineList('What is slower or does not work', one.degraded),
    ...lineList('Calls of the kernel that failed', one.failures),
    element('h3', {}, 'What the guest did'),
    element('table', {}, ...(one.steps || []).map((step) =>
      element('tr', {}, element('td', {}, step.title),
              element('td', {}, step.result)))),
    element('h3', {}, 'Capabilities and what the guest sees of them'),
    element('div', {class: 'scroll'}, element('table', {},
      element('tr', {}, ...['at', 'capability', '', 'as the guest sees it',
                            'why'].map((text) => element('th', {}, text))),
      ...capabilities.map(capabilityRow))));
}

// --- The timeline

const kinds = {
  access: 'guest accesses',
  exit: 'exits',
  call: 'kernel calls',
  wait: 'waiting',
  interrupt: 'interrupts',
};
const events = (timeline.events || []).map(
  ([kind, lane, begin, duration, name, detail, failed]) =>
    ({kind, lane, begin, end: begin + duration, name, detail, failed,
      search: `${name} ${detail}`.toLowerCase()}))
  .sort((a, b) => a.begin - b.begin);
// In the order of their begins, an event spans those that begin before its end.
events.forEach((event, i) => {
  let low = i + 1;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].begin < event.end) low = middle + 1; else high = middle;
  }
  event.step = i;
  event.stepEnd = Math.max(low, i + 1);
});

const view = {
  from: 0,
  to: 1,
  ordered: false,
  kinds: new Set(Object.keys(kinds)),
  text: '',
};
const kLabel = 118;  // the width of the lanes' names, in pixels
const kLane = 30;
const kTop = 44;
const lanes = timeline.lanes || [];
// The row of each lane. A lane without events has none.
const usedLanes = lanes.map((name, lane) => lane).filter((lane) =>
  events.some((event) => event.lane === lane));
const rowOf = new Map(usedLanes.map((lane, row) => [lane, row]));
// What the timeline had no room for: how many events, and between which times.
const [leftOut, gapBegin, gapEnd] = timeline.gap || [0, 0, 0];
const canvas = byId('canvas');

const beginOf = (event) => view.ordered ? event.step : event.begin;
const endOf = (event) => view.ordered ? event.stepEnd : event.end;
const whole = () => events.reduce((most, event) =>
  Math.max(most, endOf(event)), 1);
const matches = (event) => view.kinds.has(event.kind) &&
  (view.text === '' || event.search.includes(view.text));
const inView = (event) => endOf(event) >= view.from && beginOf(event) <= view.to;
const shown = () => events.filter((event) => matches(event) && inView(event));

function clockText(nanoseconds) {
  if (view.ordered) return `step ${Math.round(nanoseconds)}`;
  const span = view.to - view.from;
  if (span < 2e4) return `${(nanoseconds / 1e3).toFixed(2)} µs`;
  if (span < 2e7) return `${(nanoseconds / 1e6).toFixed(3)} ms`;
  return `${(nanoseconds / 1e9).toFixed(3)} s`;
}

// Returns 1, 2 or 5 times a power of ten that is no less than `least`.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power)
    .find((step) => step >= least);
}

const atX = (x, width) =>
  view.from + (x - kLabel) / (width - kLabel) * (view.to - view.from);
const toX = (at, width) =>
  kLabel + (at - view.from) / (view.to - view.from) * (width - kLabel);

// A phase's limits on the scale in use.
function phaseSpan([, begin, end]) {
  if (!view.ordered) return [begin, end];
  const first = events.findIndex((event) => event.begin >= begin);
  const last = events.findIndex((event) => event.begin >= end);
  return [first < 0 ? events.length : first, last < 0 ? events.length : last];
}

function drawTimeline() {
  const width = byId('timeline').clientWidth;
  const height = kTop + kLane * Math.max(1, usedLanes.length) + 6;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  pen.font = '12px system-ui, "DejaVu Sans", sans-serif';
  pen.textBaseline = 'middle';

  const plot = () => {
    pen.save();
    pen.beginPath();
    pen.rect(kLabel, 0, width - kLabel, height);
    pen.clip();
  };
  plot();
  (timeline.phases || []).forEach((phase, i) => {
    const [begin, end] = phaseSpan(phase).map((at) => toX(at, width));
    if (end < kLabel || begin > width) return;
    if (i % 2 === 0) {
      pen.fillStyle = color('ground');
      pen.fillRect(begin, 0, end - begin, height);
    }
    const left = Math.max(begin, kLabel) + 4;
    if (Math.min(end, width) - left > pen.measureText(phase[0]).width) {
      pen.fillStyle = color('ink');
      pen.fillText(phase[0], left, 12);
    }
  });
  pen.fillStyle = color('soft');
  pen.strokeStyle = color('line');
  const least = atX(kLabel + 110, width) - view.from;
  const step = Math.max(roundStep(least), view.ordered ? 1 : 0);
  byId('timeline').dataset.step = step;
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const x = Math.round(toX(at, width));
    if (x < width - 60) pen.fillText(clockText(at), x + 4, 30);
    pen.beginPath();
    pen.moveTo(x + 0.5, 22);
    pen.lineTo(x + 0.5, height);
    pen.stroke();
  }
  if (leftOut !== 0 && !view.ordered) {
    const begin = toX(gapBegin, width);
    const end = Math.max(toX(gapEnd, width), begin + 2);
    pen.fillStyle = color('line');
    pen.fillRect(begin, kTop, end - begin, height - kTop);
    pen.fillStyle = color('soft');
    if (end - begin > 130) {
      pen.fillText(`${leftOut} events left out`, Math.max(begin, kLabel) + 6,
                   height - 14);
    }
  }
  const visible = shown();
  for (const event of visible) {
    const begin = toX(beginOf(event), width);
    const end = toX(endOf(event), width);
    const thin = event.kind === 'wait';
    const y = kTop + kLane * rowOf.get(event.lane) + (thin ? 12 : 5);
    pen.fillStyle = color(event.failed && !thin ? 'bad' : event.kind);
    pen.fillRect(begin, y, Math.max(end - begin - 0.5, 1.5),
                 thin ? kLane - 24 : kLane - 10);
    if (end - begin > 60 && !thin) {
      pen.save();
      pen.beginPath();
      pen.rect(begin, y, end - begin - 4, kLane - 10);
      pen.clip();
      pen.fillStyle = color('card');
      pen.fillText(event.name, Math.max(begin, kLabel) + 5, y + kLane / 2 - 4);
      pen.restore();
    }
  }
  pen.restore();
  pen.fillStyle = color('ink');
  usedLanes.forEach((lane, row) =>
    pen.fillText(lanes[lane], 8, kTop + kLane * row + kLane / 2));
  byId('timeline').dataset.shown = visible.length;
  byId('range').textContent = events.length === 0
    ? 'This run recorded no timeline.'
    : `${visible.length} of ${plural(events.length, 'event')}, ` +
      `from ${clockText(view.from)} to ${clockText(view.to)}. ` +
      'The wheel zooms, dragging moves.' +
      (leftOut === 0 ? '' : ` The run was long, so ${plural(leftOut, 'event')}` +
       (view.ordered ? '' :
        ` between ${clockText(gapBegin)} and ${clockText(gapEnd)}`) +
       ' are left out. The counts have them.');
  if (byId('events-details').open) drawEvents(visible);
}

function drawEvents(visible) {
  const kMost = 500;
  const rows = visible.slice(0, kMost).map((event) => element('tr', {},
    element('td', {class: 'number'}, `${(event.begin / 1e6).toFixed(3)} ms`),
    element('td', {}, lanes[event.lane] || ''),
    element('td', {class: event.failed ? 'mono bad' : 'mono'},
            event.detail || event.name)));
  if (visible.length > kMost) {
    rows.push(element('tr', {}, element('td', {}),
      element('td', {class: 'note', colspan: 2},
              `and ${visible.length - kMost} more: zoom in or filter`)));
  }
  byId('events').replaceChildren(...rows);
}

function show(from, to) {
  const all = whole();
  const span = Math.min(Math.max(to - from, view.ordered ? 5 : 500), all);
  view.from = Math.min(Math.max(from, 0), all - span);
  view.to = view.from + span;
  drawTimeline();
}

function zoom(factor, at) {
  const center = at === undefined ? (view.from + view.to) / 2 : at;
  show(center - (center - view.from) * factor,
       center + (view.to - center) * factor);
}

function move(share) {
  const span = view.to - view.from;
  show(view.from + share * span, view.to + share * span);
}

const showAll = () => show(0, whole());

function eventAt(x, y) {
  const width = byId('timeline').clientWidth;
  const lane = usedLanes[Math.floor((y - kTop) / kLane)];
  let best;
  let bestDistance = 5;
  for (const event of shown()) {
    if (event.lane !== lane) continue;
    const begin = toX(beginOf(event), width);
    const end = Math.max(toX(endOf(event), width), begin + 1.5);
    const distance = Math.max(begin - x, x - end, 0);
    if (distance < bestDistance) [best, bestDistance] = [event, distance];
  }
  return best;
}

function drawTip(x, y) {
  const tip = byId('tip');
  const event = eventAt(x, y);
  tip.hidden = event === undefined;
  if (event === undefined) return;
  tip.replaceChildren(
    element('b', {}, event.name), element('br'),
    element('span', {class: 'mono'}, event.detail || ''), element('br'),
    element('span', {class: 'note'},
            `at ${(event.begin / 1e3).toFixed(2)} µs, took ` +
            `${((event.end - event.begin) / 1e3).toFixed(2)} µs`));
  const width = byId('timeline').clientWidth;
  tip.style.left = `${Math.min(x + 12, Math.max(width - 530, 0))}px`;
  tip.style.top = `${y + 16}px`;
}

function connectTimeline() {
  byId('kinds').replaceChildren(...Object.entries(kinds).map(([kind, name]) =>
    element('label', {class: 'kind'},
      element('input', {
        type: 'checkbox',
        id: `kind-${kind}`,
        checked: true,
        onchange: (event) => {
          if (event.target.checked) view.kinds.add(kind);
          else view.kinds.delete(kind);
          drawTimeline();
        },
      }),
      element('span', {class: 'swatch', style: `background: var(--${kind})`}),
      name)));
  byId('phases').replaceChildren(...(timeline.phases || []).map((phase) =>
    element('button', {onclick: () => show(...phaseSpan(phase))}, phase[0])));
  byId('search').addEventListener('input', (event) => {
    view.text = event.target.value.toLowerCase();
    drawTimeline();
  });
  byId('order').addEventListener('change', (event) => {
    view.ordered = event.target.checked;
    showAll();
  });
  byId('zoom-in').addEventListener('click', () => zoom(0.5));
  byId('zoom-out').addEventListener('click', () => zoom(2));
  byId('left').addEventListener('click', () => move(-0.4));
  byId('right').addEventListener('click', () => move(0.4));
  byId('reset').addEventListener('click', showAll);
  byId('events-details').addEventListener('toggle', drawTimeline);

  const box = byId('timeline');
  box.addEventListener('wheel', (event) => {
    // If everything is shown, the wheel scrolls the page.
    if (event.deltaY > 0 && view.to - view.from >= whole()) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, atX(event.offsetX, box.clientWidth));
  }, {passive: false});
  box.addEventListener('keydown', (event) => {
    const actions = {
      '+': () => zoom(0.5), '-': () => zoom(2), '0': showAll,
      ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  let dragged;
  box.addEventListener('pointerdown', (event) => { dragged = event.clientX; });
  window.addEventListener('pointerup', () => { dragged = undefined; });
  box.addEventListener('pointermove', (event) => {
    if (dragged === undefined) {
      drawTip(event.offsetX, event.offsetY);
      return;
    }
    byId('tip').hidden = true;
    move((dragged - event.clientX) / (box.clientWidth - kLabel));
    dragged = event.clientX;
  });
  box.addEventListener('pointerleave', () => { byId('tip').hidden = true; });
  window.addEventListener('resize', drawTimeline);
  window.matchMedia('(prefers-color-scheme: dark)')
    .addEventListener('change', drawTimeline);
}

// --- The self-test, for #selftest. It uses the page as a person does, and
// writes a line for each thing that worked or did not.

function selfTest() {
  const lines = [];
  const check = (what, worked) =>
    lines.push(`${worked ? 'ok' : 'FAILED'} ${what}`);
  const count = () => Number(byId('timeline').dataset.shown);
  const span = () => view.to - view.from;
  const click = (id) => byId(id).click();

  const all = count();
  const allSpan = span();
  check('it shows every event at first', all > 0 && all === events.length);
  click('zoom-in');
  check('the button zooms in', span() < allSpan && count() <= all);
  click('reset');
  check('the button shows everything', span() === allSpan && count() === all);
  const wheel = (deltaY) => byId('timeline').dispatchEvent(
    new WheelEvent('wheel', {
      deltaY, clientX: 600, cancelable: true, bubbles: true}));
  check('the wheel scrolls the page if all is shown', wheel(100));
  check('the wheel zooms in', !wheel(-100) && span() < allSpan);
  const step = byId('timeline').dataset.step;
  check('the marks have round times', /^[125]0*$/.test(step));
  byId('timeline').dispatchEvent(new KeyboardEvent('keydown', {key: '0'}));
  check('the key 0 shows everything', count() === all);
  const phase = byId('phases').querySelector('button');
  phase.click();
  check('a phase’s button zooms to it', span() < allSpan && count() < all);
  click('reset');
  click('kind-call');
  const withoutCalls = count();
  check('a kind can be hidden', withoutCalls < all && withoutCalls ===
    events.filter((event) => event.kind !== 'call').length);
  click('kind-call');
  byId('search').value = 'set_irqs';
  byId('search').dispatchEvent(new Event('input'));
  check('the text filters', count() < all && count() > 0 &&
    shown().every((event) => `${event.name} ${event.detail}`.toLowerCase()
      .includes('set_irqs')));
  byId('events-details').open = true;
  drawTimeline();
  check('the list has the filtered events',
    byId('events').rows.length === Math.min(count(), 500));
  byId('search').value = '';
  byId('search').dispatchEvent(new Event('input'));
  click('order');
  check('steps can be shown instead of time', view.to === events.length);
  click('order');
  check('everything is shown again', count() === all);
  check('the address map is drawn',
    document.querySelectorAll('svg .mapped, svg .trapped').length > 0);
  check('the interrupt paths are drawn',
    document.querySelectorAll('svg .node').length > 0);
  check('the counts are drawn', byId('calls').rows.length > 2);
  check('no part is wider than the window',
    document.documentElement.scrollWidth <= window.innerWidth);
  check('no text of the report became markup',
    document.querySelectorAll('script').length === 3 &&
    document.querySelectorAll('img, iframe, object').length === 0);
  check(`no error ${errors.join('; ')}`, errors.length === 0);
  const scheme = window.matchMedia('(prefers-color-scheme: dark)').matches
    ? 'dark' : 'light';
  lines.push(`scheme ${scheme}, ground ` +
             getComputedStyle(document.body).backgroundColor);
  document.body.append(element('pre', {id: 'selftest'}, lines.join('\n')));
}

drawHeader();
byId('devices').replaceChildren(...devices.map(drawDevice));
drawCounts('exits', 'exits');
drawCounts('calls', 'kernel_calls');
drawLeftovers();
drawTranscript();
connectTimeline();
showAll();
if (location.hash === '#selftest') selfTest();
