// The style of a prompt: the words at its start that state one.

/**
 * Returns a prompt in a style. Words that state another style are replaced.
 * @param {string} text the prompt
 * @param {string} style its name; "" leaves the prompt as it is
 * @param {object} styles those of the loaded model
 */
export function styled(text, style, styles) {
  if (!style || !text) return text;
  if (/^\[style /i.test(text)) return text.replace(/^(\[style )[a-z]+/i, `$1${style}`);
  for (const other of Object.values(styles)) {
    for (const [i, phrases] of other.phrases.entries()) {
      const stated = phrases.find((phrase) => text.toLowerCase().startsWith(`${phrase},`));
      if (stated) return styles[style].phrases[i][0] + text.slice(stated.length);
    }
  }
  return styles[style].start + text;
}
