// What pages do better with a script: copying, answers of forms in place, live events, keys. Everything works without it.
'use strict';

for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const label = button.getAttribute('aria-label');
    button.setAttribute('aria-label', 'Copied');
    button.classList.add('copied');
    setTimeout(() => { button.setAttribute('aria-label', label); button.classList.remove('copied'); }, 1500);
  });
}

// A form is sent without leaving the page, so that a refusal keeps what was filled in.
for (const form of document.querySelectorAll('form[action*="/dashboard/do/"]')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.submitter ?? form.querySelector('button[type=submit]');
    const note = form.querySelector('.formnote');
    // A disabled button sends no value.
    const body = new URLSearchParams(new FormData(form, event.submitter));
    button.disabled = true;
    note.textContent = '';
    try {
      const response = await fetch(event.submitter?.getAttribute('formaction') ?? form.action, { method: 'POST', body, headers: { accept: 'application/json' } });
      if (response.headers.get('content-type')?.startsWith('application/json')) {
        const answer = await response.json();
        if (answer.location) {
          if (answer.location === location.pathname + location.search) location.reload();
          else location.assign(answer.location);
          return;
        }
        note.textContent = [answer.error, answer.fix ? null : answer.hint].filter(Boolean).join(' — ');
        if (answer.fix) note.append(' ', Object.assign(document.createElement('a'), { href: answer.fix.href, textContent: answer.fix.label }));
        note.setAttribute('role', 'alert');
        const line = /line (\d+)/.exec(answer.error ?? '');
        if (line) select(form.querySelector('textarea'), Number(line[1]));
      } else {
        // A whole page: of a new token, or one that leads to a service.
        show(await response.text());
        return;
      }
    } catch {
      note.textContent = 'The server does not answer. Try again.';
      note.setAttribute('role', 'alert');
    }
    button.disabled = false;
  });
}

/** Selects a line of a text, in which there is a mistake. */
function select(area, number) {
  if (!area) return;
  const lines = area.value.split('\n');
  const start = lines.slice(0, number - 1).join('\n').length + (number > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[number - 1] ?? '').length);
}

/** Shows a page that answers a form: its content takes the place of the present one. */
function show(text) {
  const page = new DOMParser().parseFromString(text, 'text/html');
  const next = page.querySelector('[data-continue]');
  if (next) {
    location.assign(next.href);
    return;
  }
  document.title = page.title;
  document.querySelector('main').replaceWith(page.querySelector('main'));
  for (const button of document.querySelectorAll('main [data-copy]')) {
    button.hidden = false;
    button.addEventListener('click', () => navigator.clipboard.writeText(button.dataset.copy));
  }
  document.querySelector('main').focus();
}

document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest('input, textarea, select, [contenteditable]');
  const wanted = document.querySelector(`[data-hotkey="${CSS.escape(event.key)}"]`);
  if (!isTyping && wanted && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    wanted.focus();
  }
});

// On a narrow window, the sections are one line.
document.querySelector('.side [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

// Rows that arrive while the page is open.
for (const table of document.querySelectorAll('[data-live]')) {
  const status = document.querySelector('.live');
  const source = new EventSource(table.dataset.live);
  // Each response ends, and the next one is asked for: only a long silence means that the server is away.
  let silence;
  source.addEventListener('open', () => { clearTimeout(silence); status?.classList.add('on'); });
  source.addEventListener('error', () => {
    clearTimeout(silence);
    silence = setTimeout(() => status?.classList.remove('on'), 30_000);
  });
  source.addEventListener('row', (event) => {
    const template = document.createElement('template');
    template.innerHTML = event.data;
    const row = template.content.firstElementChild;
    const known = table.querySelector(`[data-id="${CSS.escape(row.dataset.id)}"]`);
    row.classList.add('new');
    if (known) known.replaceWith(row);
    else table.prepend(row);
    setTimeout(() => row.classList.remove('new'), 2500);
  });
}
