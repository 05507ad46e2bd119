// Search, a copy button on each block of code, and the list of pages folded on a narrow screen.
const root = document.body.dataset.root;
const query = document.getElementById("query"), hits = document.getElementById("hits");

function score(entry, words) {
  let sum = 0;
  for (const word of words) {
    const places = [[entry.section, 6], [entry.title, 4], [entry.text, 1]];
    const found = places.filter(([text]) => text.toLowerCase().includes(word));
    if (!found.length) return 0;
    sum += Math.max(...found.map(([, worth]) => worth));
  }
  return sum;
}

function excerpt(text, word) {
  const at = Math.max(0, text.toLowerCase().indexOf(word) - 30);
  return (at ? "… " : "") + text.slice(at, at + 110);
}

function search() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  hits.textContent = "";
  if (!words.length) return;
  const best = SECTIONS.map((entry) => [score(entry, words), entry]).filter(([worth]) => worth)
    .sort((one, other) => other[0] - one[0]).slice(0, 12);
  for (const [, entry] of best) {
    const link = document.createElement("a"), below = document.createElement("small");
    link.href = root + entry.href;
    link.textContent = entry.section || entry.title;
    below.textContent = `${entry.title}: ${excerpt(entry.text, words[0])}`;
    link.append(below);
    hits.append(link);
  }
  if (!best.length) hits.textContent = "Nothing found.";
}

query.addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); query.focus(); }
  if (event.key === "Escape") { query.value = ""; search(); }
});
document.addEventListener("click", (event) => { if (!event.target.closest(".search")) hits.textContent = ""; });

for (const block of document.querySelectorAll("div.sourceCode")) {
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this code");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").innerText);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}

for (const block of document.querySelectorAll("pre, .wide, .cell-html")) {
  if (block.scrollWidth > block.clientWidth) block.tabIndex = 0; // the arrow keys scroll what is too wide
}

if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".sidebar details").open = false;
