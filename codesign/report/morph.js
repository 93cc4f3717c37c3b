// Makes a part of the page like a fresh one, touching only what differs: focus, scroll and charts
// stay.

function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.classList.contains("chart")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const [were, are] = [[...old.childNodes], [...fresh.childNodes]];
  are.forEach((node, place) => {
    if (place < were.length) morph(were[place], node);
    else old.append(node);
  });
  for (const node of were.slice(are.length)) node.remove();
}

// The HTML comes from the server, which escapes what a study says.
function updatePart(part, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  morphChildren(part, fresh.content);
}
