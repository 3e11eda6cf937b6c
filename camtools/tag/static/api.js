// Requests to the server; every answer is JSON or raw voxels.

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(0, "No answer: camtools tag has ended. Start it again and open the address that it prints.");
  }
  if (!response.ok) {
    const content = await response.json().catch(() => ({}));
    throw new Refusal(response.status, content.detail || `The server answered ${response.status}.`);
  }
  return response;
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function bytes(path, signal) {
  return (await ask(path, { signal })).arrayBuffer();
}

export async function post(path, content) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(content) })).json();
}

function newClient() {
  const found = sessionStorage.getItem("client") || crypto.randomUUID();
  sessionStorage.setItem("client", found);
  return found;
}

export const client = newClient();
