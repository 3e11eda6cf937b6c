// What an action makes of the tags of a volume: a change for the server, or a message that says why not.

export function merged(ranges) {
  const sorted = ranges.map(([a, b]) => [Math.min(a, b), Math.max(a, b)]).sort((one, two) => one[0] - two[0]);
  const result = [];
  for (const [first, last] of sorted) {
    const before = result[result.length - 1];
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else result.push([first, last]);
  }
  return result;
}

export function without(ranges, from, to) {
  const result = [];
  for (const [first, last] of ranges) {
    if (first < from) result.push([first, Math.min(last, from - 1)]);
    if (last > to) result.push([Math.max(first, to + 1), last]);
  }
  return result;
}

export function rangeAt(ranges, k) {
  return ranges.find(([first, last]) => first <= k && k <= last);
}

// Ranges to work on: the person's, else those that the model suggests.
export function current(volume) {
  const own = volume.status !== "" || volume.ranges.length || volume.first !== null;
  return own || !volume.suggestion ? volume.ranges : volume.suggestion.ranges;
}

export function isSuggested(volume) {
  return volume.status === "" && volume.first === null && !volume.ranges.length && Boolean(volume.suggestion);
}

function opened(ranges, first = null) {
  return { change: { ranges, first, status: "open" } };
}

export function markFirst(volume, k) {
  const ranges = current(volume);
  const here = rangeAt(ranges, k);
  if (here && volume.first === null) return opened(merged([...ranges.filter((range) => range !== here), [k, here[1]]]));
  return opened(ranges, k);
}

export function markLast(volume, k) {
  const ranges = current(volume);
  if (volume.first !== null) return opened(merged([...ranges, [volume.first, k]]));
  const here = rangeAt(ranges, k);
  const before = here || ranges.filter(([first]) => first <= k).pop();
  if (!before) return { message: "Mark the first slice of the object before its last one." };
  return opened(merged([...ranges.filter((range) => range !== before), [before[0], k]]));
}

export function toggle(volume, k) {
  const ranges = current(volume);
  if (rangeAt(ranges, k)) return opened(without(ranges, k, k), volume.first);
  return opened(merged([...ranges, [k, k]]), volume.first);
}

export function addRange(volume, from, to) {
  return opened(merged([...current(volume), [from, to]]));
}

export function eraseRange(volume, from, to) {
  return opened(without(current(volume), Math.min(from, to), Math.max(from, to)));
}

export function removeHere(volume, k) {
  const ranges = current(volume);
  if (volume.first !== null) return opened(ranges);
  const here = rangeAt(ranges, k);
  if (!here) return { message: "No range on this slice." };
  return opened(ranges.filter((range) => range !== here));
}

export function nowhere() {
  return opened([]);
}

export function everywhere(volume) {
  return opened([[0, volume.slices - 1]]);
}

export function unsure() {
  return { change: { first: null, status: "unsure" } };
}

export function confirm(volume) {
  if (volume.first !== null) return { message: "The last slice of the object is missing: go there and mark it." };
  if (isSuggested(volume)) return { change: { ranges: volume.suggestion.ranges, first: null, status: "done" } };
  if (volume.status === "") return { message: "Not tagged yet: mark first and last slice, or say nowhere (0)." };
  if (volume.status === "done") return { change: null };
  return { change: { status: "done" } };
}

export function describe(volume) {
  const ranges = current(volume);
  if (!ranges.length) return volume.status === "" ? "not tagged" : "nowhere";
  const words = ranges.map(([first, last]) => (first === last ? `${first + 1}` : `${first + 1} to ${last + 1}`));
  return `slices ${words.join(", ")}`;
}
