// Search from a file: browsers refuse workers of file:// pages, so a worker's script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.frame = frame
      this.ready = new Promise(done => frame.addEventListener("ready", done))
      addEventListener("message", event => {
        if (event.source === frame.contentWindow) {
          const message = new MessageEvent("message", { data: event.data })
          this.dispatchEvent(message)
          if (this.onmessage) this.onmessage(message)
        }
      })
      const page = frame.contentWindow.document
      page.open()
      page.write(`<script>self.postMessage = data => parent.dispatchEvent(
        new MessageEvent("message", { data, source: self }))<\/script><script src="${url}"><\/script>
        <script>frameElement.dispatchEvent(new Event("ready"))<\/script>`)
      page.close()
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() { this.frame.remove() }
  }
  window.Worker = window.IFrameWorker
}
