// A site that is read from a folder (file://) has no Worker in most browsers, and the search runs in one: there it gets a hidden frame that acts as one.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.queue = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      const page = inside.document;
      page.open();
      page.write("<!doctype html><title>search</title>");
      page.close();
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => this.load(one)), Promise.resolve());
      this.load(url).then(() => {
        this.ready = true;
        this.queue.splice(0).forEach((data) => this.give(data));
      });
    }

    load(url) {
      return new Promise((done, failed) => {
        const page = this.frame.contentWindow.document;
        const script = page.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = failed;
        page.body.appendChild(script);
      });
    }

    give(data) {
      const inside = this.frame.contentWindow;
      inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.ready) this.give(data);
      else this.queue.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
