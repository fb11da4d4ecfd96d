// Runs the script of the page under node, over a small stand-in for a browser's document, against a running server.
//     node page_test.js PAGE PORT FOLDER
// It chats, forks at an alternative, and writes the pipeline's command and the answer into FOLDER. Ends with "ok".
// SPDX-License-Identifier: AGPL-3.0-or-later
'use strict';
const fs = require('fs'), vm = require('vm'), assert = require('assert');
const [page, port, folder] = process.argv.slice(2);
const html = fs.readFileSync(page, 'utf8');

class Element {
  constructor(tag) { Object.assign(this, {tag, children: [], className: '', value: '', style: {}, attributes: {}, listeners: {}, own: '', hidden: false, disabled: false}); }
  get classList() { return {contains: name => this.className.split(' ').includes(name)}; }
  get textContent() { return this.own + this.children.map(c => c.textContent).join(''); }
  set textContent(text) { this.own = String(text); this.children = []; }
  get nextElementSibling() { return this.parent && this.parent.children[this.parent.children.indexOf(this) + 1] || null; }
  get previousElementSibling() { return this.parent && this.parent.children[this.parent.children.indexOf(this) - 1] || null; }
  append(...list) {
    for (let c of list) {
      if (typeof c === 'string') { const text = new Element('#text'); text.own = c; c = text; }
      c.parent = this;
      this.children.push(c);
    }
  }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(name, f) { (this.listeners[name] = this.listeners[name] || []).push(f); }
  fire(name, event = {}) { for (const f of this.listeners[name] || []) f({preventDefault() {}, target: this, ...event}); }
  click() { this.fire('click'); }
  requestSubmit() { this.fire('submit'); }
  focus() { document.activeElement = this; }
  closest(what) { for (let e = this; e; e = e.parent) if (what.split(', ').some(w => w === '#' + e.id || (w[0] === '.' && e.classList.contains(w.slice(1))))) return e; return null; }
  querySelector(what) { return this.children.find(c => !c.disabled && (!what.includes('aria-current') || c.attributes['aria-current'] === 'true')) || null; }
  getBoundingClientRect() { return {left: 0, bottom: 0}; }
  showModal() { this.open = true; }
  close() { this.open = false; }
}

const ids = {};
for (const m of html.matchAll(/<(\w+)[^>]*\bid="(\w+)"([^>]*)>/g)) {
  const e = ids[m[2]] = new Element(m[1]);
  e.id = m[2];
  const value = /value="([^"]*)"/.exec(m[3]);
  if (value) e.value = value[1];
  e.hidden = / hidden/.test(m[0]);
}
const document = new Element('document');
Object.assign(document, {getElementById: id => ids[id] || assert.fail('no element ' + id), createElement: tag => new Element(tag), body: {scrollHeight: 0}, activeElement: ids.input});
const window = {scrollTo() {}, innerWidth: 1000, scrollX: 0, scrollY: 0};
const sent = [];
const context = vm.createContext({document, window, console, TextDecoder, AbortController, navigator: {},
  fetch: (url, o) => { assert(!/^\w+:|^\//.test(url), url); sent.push(o); return fetch(`http://127.0.0.1:${port}/${url}`, o); }});
vm.runInContext(/<script>([^]*)<\/script>/.exec(html)[1], context);
const page_ = text => vm.runInContext(text, context);
const wait = async what => { for (let i = 0; i < 1000; i++) { if (what()) return; await new Promise(r => setTimeout(r, 20)); } assert.fail('never: ' + what); };
const key = (name, target) => document.fire('keydown', {key: name, target: target || document.activeElement});

async function main() {
  await wait(() => ids.model.children.length > 0);
  ids.model.value = ids.model.children[0].textContent;
  ids.max_tokens.value = '12';
  ids.temperature.value = '0.8';
  ids.seed.value = '5';
  ids.input.value = "Hello 'you' \\ there";
  ids.form.fire('submit');
  assert(ids.send.disabled && !ids.stop.disabled);
  await wait(() => page_('running') === null);
  let messages = page_('messages');
  assert.deepStrictEqual(messages.map(m => m.role).join(), 'user,assistant', messages.map(m => m.content).join());
  const answer = messages[1];
  assert(answer.tokens.length >= 5 && answer.tokens.length <= 12);
  assert(answer.tokens.every(t => t.top.length === 8 && t.logprob <= 0));
  assert.strictEqual(answer.meta.completion, answer.tokens.length);
  const spans = answer.element.children[1].children;
  assert.strictEqual(spans.length, answer.tokens.length);
  assert(spans.every(s => /^t s[0-5]$/.test(s.className)));
  fs.writeFileSync(folder + '/answer', answer.content);

  ids.pipeline.click();
  assert(ids.dialog.open);
  fs.writeFileSync(folder + '/command', ids.command.textContent);
  ids.close.click();

  // Hover shows alternatives and goes away; the keyboard walks, opens, chooses.
  spans[1].fire('mouseenter');
  assert(!ids.popup.hidden && ids.popup.children.length >= 8);
  ids.chat.fire('mouseleave');
  assert(ids.popup.hidden);
  spans[0].focus();
  key('ArrowRight');
  key('ArrowRight');
  assert.strictEqual(document.activeElement, spans[2]);
  key('Enter');
  assert(!ids.popup.hidden && spans[2].attributes['aria-expanded'] === 'true');
  key('Escape');
  assert(ids.popup.hidden && document.activeElement === spans[2]);
  key('Enter');
  const before = answer.tokens.slice(0, 2).map(t => t.text).join('');
  const other = ids.popup.children.find(b => !b.disabled && b.attributes['aria-current'] !== 'true');
  assert(other, 'an alternative that is text');
  const chosen = page_('messages')[1].tokens[2].top.find(a => page_('visible')(a.token) === other.children[0].textContent).token;
  other.click();
  await wait(() => page_('running') === null);
  messages = page_('messages');
  assert.strictEqual(messages.length, 2, messages.map(m => m.content).join());
  assert(messages[1].content.startsWith(before + chosen), messages[1].content);
  assert(messages[1].tokens[2].forced && messages[1].tokens.length > 3);
  const request = JSON.parse(sent[sent.length - 1].body);
  assert(request.continue_final_message && request.messages[request.messages.length - 1].content === before + chosen);

  // An error is shown, and is no part of the next request.
  ids.temperature.value = '-1';
  ids.input.value = 'More';
  ids.form.fire('submit');
  await wait(() => page_('running') === null);
  messages = page_('messages');
  assert(messages[messages.length - 1].error && /temperature/.test(messages[messages.length - 1].content));
  ids.fresh.click();
  assert.strictEqual(page_('messages').length, 0);

  assert.deepStrictEqual([0, -0.3, -1, -2, -3, -9].map(x => page_('shade')(x)), [0, 1, 2, 3, 4, 5]);
  const meta = page_('metaElement')({completion: 3, seconds: 1, prompt: 100, cached: 64, why: 'cached to token 64'});
  assert(/cached 64/.test(meta.textContent) && /cached to token 64/.test(meta.textContent));
  console.log('ok');
}
main().catch(e => { console.error(e); process.exit(1); });
