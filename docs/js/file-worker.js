/* Search runs in a Worker, which browsers refuse for pages that are opened from the disk. An iframe takes its place. */
(() => {
  if (location.protocol !== "file:") return

  class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      this.window = this.frame.contentWindow
      this.ready = new Promise((resolve, reject) => {
        this.window.loaded = resolve
        this.window.failed = () => reject(new Error(`The search of this page could not load ${url}`))
      })
      this.receive = (event) => {
        if (event.source !== this.window) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      }
      addEventListener("message", this.receive)
      this.window.document.open()
      this.window.document.write(
        "<script>postMessage = (data) => parent.postMessage(data, '*')</script>" +
          `<script src="${url}" onload="loaded()" onerror="failed()"></script>`
      )
      this.window.document.close()
    }

    postMessage(data) {
      this.ready.then(() => this.window.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) })))
    }

    terminate() {
      removeEventListener("message", this.receive)
      this.frame.remove()
    }
  }

  window.Worker = FrameWorker
})()
