// The capture of a character: a phrase, and a clip of who says it, by camera or as a file.

import { api, post } from "/static/api.js";
import { dialog, field, fill, h, icon } from "/static/dom.js";

const KINDS = ["video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/mp4;codecs=avc1,opus", "video/mp4;codecs=vp9,opus", "video/mp4"];
const MOST_SECONDS = 20;

/** Opens the steps of a capture; `made` gets the new character. */
export function captureDialog(made) {
  const name = h("input", { required: true, maxlength: 80, autocomplete: "off", pattern: "[a-z][a-z0-9_]{1,31}", placeholder: "mika", autocapitalize: "off", spellcheck: "false" });
  const problem = h("p.problem", { role: "alert", hidden: true });
  const body = h("div.capture");
  const box = dialog("Record a character", body, problem);
  const stop = new AbortController();
  box.addEventListener("close", () => stop.abort());
  const fail = (error) => {
    problem.textContent = error.message;
    problem.hidden = false;
  };
  const attempt = async (run) => {
    problem.hidden = true;
    try {
      await run();
    } catch (error) {
      fail(error);
    }
  };

  function askName() {
    fill(body, h("form", { onsubmit(event) {
      event.preventDefault();
      attempt(async () => recordPhrase(await post("/v1/characters/challenges")));
    } },
    h("p.lead", {}, "A character is shown only with consent. You prove it by saying a phrase that nobody knew before, with your face in the picture."),
    field("Name", name, "Small letters, digits and _. Prompts write it with @."),
    h("div.actions", {}, h("button.primary", { type: "submit" }, "Get the phrase"))));
    name.focus();
  }

  function recordPhrase(challenge) {
    const clock = h("span.clock", { role: "timer" });
    const again = h("button", { type: "button", hidden: true, onclick: askName }, "Get a new phrase");
    const left = () => Math.max(0, Math.round(challenge.expires_at - Date.now() / 1000));
    const tick = () => {
      clock.textContent = left() ? `valid for ${Math.floor(left() / 60)}:${String(left() % 60).padStart(2, "0")}` : "this phrase has ended";
      again.hidden = left() > 0;
    };
    const timer = setInterval(tick, 1000);
    stop.signal.addEventListener("abort", () => clearInterval(timer));
    tick();
    const file = h("input.unseen", { type: "file", accept: "video/mp4", "aria-label": "Capture as an mp4 file", onchange: () => file.files[0] && attempt(() => send(file.files[0])) });
    const live = h("div.mat.live");
    const status = h("p.hint", { role: "status" });
    const choices = h("div.actions", {}, h("button.primary", { type: "button", onclick: () => attempt(camera) }, icon("camera"), "Use the camera"), h("label.button", {}, file, icon("publish"), "Upload a file"), again);
    fill(body,
      h("p.lead", {}, "Turn your head to both sides, look ahead, and say:"),
      h("p.phrase", { "aria-label": "Phrase" }, challenge.phrase), h("p.hint", {}, clock), live, status, choices);

    // A challenge is used up by its first capture, whatever that shows.
    function used() {
      clearInterval(timer);
      clock.textContent = "this phrase was used";
      again.hidden = false;
      for (const one of [...choices.children]) if (one !== again) one.remove();
      again.focus();
    }
    async function send(clip) {
      status.textContent = "The capture is being verified…";
      choices.inert = true;
      const values = new FormData();
      values.set("name", name.value);
      values.set("challenge_id", challenge.id);
      values.set("video", clip, "capture.mp4");
      try {
        const character = await api("POST", "/v1/characters", values);
        if (character.status === "verified") {
          box.close();
          made(character);
          return;
        }
        throw new Error(character.reason ?? `The character is ${character.status}.`);
      } catch (error) {
        used();
        throw error;
      } finally {
        choices.inert = false;
        status.textContent = "";
        file.value = "";
      }
    }

    async function camera() {
      const kind = window.MediaRecorder && KINDS.find((one) => MediaRecorder.isTypeSupported(one));
      if (!kind) throw new Error("This browser records no mp4 files; upload one.");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 640 }, audio: true }).catch(() => {
        throw new Error("The camera or the microphone cannot be used; allow both, or upload a file.");
      });
      const end = () => stream.getTracks().forEach((one) => one.stop());
      stop.signal.addEventListener("abort", end);
      const picture = h("video", { muted: true, playsinline: true, autoplay: true, "aria-label": "Camera" });
      picture.srcObject = stream;
      const button = h("button.primary", { type: "button" }, icon("record", true), "Record");
      fill(live, picture, button);
      choices.hidden = true;
      button.focus();
      button.addEventListener("click", () => {
        const recorder = new MediaRecorder(stream, { mimeType: kind });
        const parts = [];
        recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
        recorder.addEventListener("stop", () => {
          end();
          fill(live);
          choices.hidden = false;
          attempt(() => send(new Blob(parts, { type: "video/mp4" })));
        });
        recorder.start();
        setTimeout(() => recorder.state === "recording" && recorder.stop(), 1000 * MOST_SECONDS);
        fill(button, icon("pause", true), "Stop and send");
        button.addEventListener("click", () => recorder.state === "recording" && recorder.stop(), { once: true });
      }, { once: true });
    }
  }
  askName();
}
